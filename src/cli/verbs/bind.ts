import { type Command, Option } from "commander";
import { BIND_OWNERS, type BindOwners, bindInto } from "../../copy/bind.ts";
import { findMachine } from "../../machine/find-machine.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("bind")
    .summary("bind a file or directory of the host into a machine")
    .description(
      "Mounts SOURCE, a file or directory of the host, on TARGET in a running machine, by default on the same path. It stays " +
        "until unbind or the end of the machine, and what is mounted below it comes with it. Nothing that is mounted inside " +
        "shows on the host.",
    )
    .argument("<name>", "the machine")
    .argument("<source>", "what of the host")
    .argument("[target]", "where in the machine")
    .option("--read-only", "nobody inside may write to it")
    .option("--mkdir", "make the target, and the directories to it, where they are missing")
    .addOption(
      new Option(
        "--owners <KIND>",
        "how owners are told inside: noidmap: as they are, so what is root's on the host is nobody's; idmap: by the same numbers; rootidmap: what is its owner's is root's",
      )
        .choices([...BIND_OWNERS])
        .default("noidmap"),
    )
    .action(run(bind));
}

async function bind(
  context: Context,
  name: string,
  source: string,
  target: string | undefined,
  options: { readOnly?: boolean; mkdir?: boolean; owners: BindOwners },
): Promise<number> {
  const { paths, signal } = context;
  const { readOnly = false, mkdir = false, owners } = options;
  await bindInto(findMachine(name, paths), source, target ?? source, { readOnly, mkdir, owners, signal }, paths);
  return 0;
}
