import { writeFileSync } from "node:fs";
import type { Command } from "commander";
import { bootTimeline } from "../../machine/boot-timeline.ts";
import { CallerTerminal } from "../../supervise/caller-terminal.ts";
import { bootText } from "../boot-bars.ts";
import { bootNumber } from "../boot-number.ts";
import { bootSvg } from "../boot-svg.ts";
import { print, printJson } from "../output.ts";
import { hasUtf8 } from "../progress.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("boot")
    .summary("show what a machine's start took its time for")
    .description(
      "Shows a timeline of a machine's boot, from the call until it was ready: each step of the host, and where systemd runs in it the " +
        "units that it started, as systemd-analyze has them, while the machine runs. What took longest is shown. " +
        "Besides the boot that runs the last five are kept.",
    )
    .argument("<name>", "the machine")
    .option("-b, --boot <NUMBER>", "of which boot: 0 is the one that runs, -1 the last one that ended, and so on")
    .option("-a, --all", "every step and unit")
    .option("--svg <FILE>", "draw it into a file")
    .option("--json", "print as JSON")
    .action(run(boot));
}

interface Options {
  readonly boot?: string;
  readonly all?: boolean;
  readonly svg?: string;
  readonly json?: boolean;
}

const COLUMNS = 160;

async function boot({ paths, env }: Context, name: string, options: Options): Promise<number> {
  const timeline = await bootTimeline(name, bootNumber(options.boot), paths);
  if (options.svg !== undefined) writeFileSync(options.svg, bootSvg(timeline));
  if (options.json === true) printJson(timeline);
  else if (options.svg === undefined) {
    const columns = new CallerTerminal().size?.columns || COLUMNS;
    print(bootText(timeline, { all: options.all === true, columns, utf8: hasUtf8(env) }));
  }
  return 0;
}
