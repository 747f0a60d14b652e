import type { Command } from "commander";
import { BerthError, UsageError } from "../../errors.ts";
import { findBoot } from "../../machine/find-boot.ts";
import { readConsole } from "../../supervise/console-log.ts";
import { LogFollower } from "../../supervise/log-follower.ts";
import { bootNumber } from "../boot-number.ts";
import { lineCount } from "../line-count.ts";
import { LinePrinter, type LogPrinter, RawPrinter } from "../log-printer.ts";
import { say } from "../output.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("logs")
    .summary("show what a machine said on its console")
    .description(
      "Shows what a machine said on its console, with the time of each line: of the boot that runs, or else of the " +
        "last one. Besides that one the last five boots are kept until the host's next boot, of each its last 1 to 2 MiB. " +
        "Colours and other control sequences are left out.",
    )
    .argument("<name>", "the machine")
    .option("-b, --boot <NUMBER>", "of which boot: 0 is the one that runs, -1 the last one that ended, and so on")
    .option("-f, --follow", "go on with what is said from now on, until the boot is over")
    .option("-n, --lines <NUMBER>", "the last lines only; with --follow the default is 10")
    .option("--raw", "print the bytes as they came, without times")
    .option("--json", "print as JSON; with --follow an object a line")
    .action(run(logs));
}

interface Options {
  readonly boot?: string;
  readonly follow?: boolean;
  readonly lines?: string;
  readonly raw?: boolean;
  readonly json?: boolean;
}

const FOLLOWED = 10;

async function logs({ paths, signal }: Context, name: string, options: Options): Promise<number> {
  const { follow = false, raw = false, json = false } = options;
  if (raw && json) throw new UsageError("--raw and --json exclude each other");
  const wanted = bootNumber(options.boot);
  const count = options.lines === undefined ? undefined : lineCount(options.lines);
  const { boot, directory } = findBoot(name, wanted, paths);
  const printer = raw ? new RawPrinter() : new LinePrinter({ json, follow });
  if (follow) {
    if (boot !== 0) throw isOver(name, boot);
    await followLog(directory, printer, count ?? FOLLOWED, signal);
    return 0;
  }
  if (wanted === undefined && boot !== 0) say(`berth: machine ${name} does not run; this is its last boot\n`);
  printer.feed(readConsole(directory));
  printer.flush(count ?? Number.POSITIVE_INFINITY);
  return 0;
}

/** Resolves when the boot is over, or the user has seen enough. */
function followLog(directory: string, printer: LogPrinter, count: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const follower = new LogFollower(directory, {
      onFrames: (frames) => {
        printer.feed(frames);
        return true;
      },
      onCaughtUp: () => printer.flush(count),
      onEnd: () => {
        printer.end();
        resolve();
      },
    });
    const enough = (): void => {
      follower.close();
      resolve();
    };
    signal.addEventListener("abort", enough, { once: true });
  });
}

function isOver(name: string, boot: number): BerthError {
  return new BerthError(`machine ${name} does not run: nothing more comes of boot ${boot}`, {
    kind: "NoSuchMachine",
    hint: `berth logs ${name} --boot=${boot} shows what there is`,
  });
}
