import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { INSTALLATION } from "../../host/installation.ts";
import { print } from "../output.ts";
import type { Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("version")
    .summary("print the version")
    .description("Prints the version of berth and of the runtime it is pinned to.")
    .option("--json", "print as JSON")
    .action(
      run(async (_context, options: { json?: boolean }) => {
        const { version } = JSON.parse(readFileSync(join(INSTALLATION, "package.json"), "utf8")) as { version: string };
        const runtime = process.version;
        print(
          options.json === true ? `${JSON.stringify({ version, runtime })}\n` : `berth ${version}, node ${runtime}\n`,
        );
        return 0;
      }),
    );
}
