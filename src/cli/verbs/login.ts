import type { Command } from "commander";
import { openSession } from "../open-session.ts";
import type { Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("login")
    .summary("log in to a machine")
    .description(
      "Shows a login prompt of a running machine, on a terminal of the machine's own: who logs in needs a name and a password there. " +
        "^] three times within a second hangs that terminal up.",
    )
    .argument("<name>", "the machine")
    .action(run((context, name: string) => openSession(context, name, { kind: "login" })));
}
