import type { Command } from "commander";
import { type Explanation, explain } from "../../manager/explain.ts";
import { visible, visibleJson } from "../../spec/quote.ts";
import { machineDetails } from "../details.ts";
import { print } from "../output.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("why")
    .summary("explain why a machine does not run")
    .description(
      "Explains in sentences why a machine does not run: how its last start or boot failed, which line of its settings " +
        "is to blame where one is, what it said last on its console, and what would keep it from starting now.",
    )
    .argument("<name>", "the machine")
    .option("--json", "print as JSON")
    .action(run(why));
}

async function why(context: Context, name: string, { json = false }: { json?: boolean }): Promise<number> {
  const explanation = await explain(await machineDetails(context, name), context.paths);
  print(json ? `${visibleJson(explanation, 2)}\n` : page(explanation));
  return 0;
}

function page({ sentences, lines, hint, console }: Explanation): string {
  return [
    ...sentences,
    ...lines.map(({ file, line, text }) => `  ${file}:${line}: ${text}`),
    ...(hint === null ? [] : [`hint: ${hint}`]),
    ...(console.length === 0 ? [] : ["Its last lines on the console:", ...console.map((line) => `  ${line}`)]),
  ]
    .map((line) => `${visible(line)}\n`)
    .join("");
}
