import type { Command } from "commander";
import { BerthError, UsageError } from "../errors.ts";
import { ImageStore } from "../image/store.ts";
import type { PullEvent, PullParams } from "../manager/protocol.ts";
import { quote, visible } from "../spec/quote.ts";
import { proxiesIn } from "../transfer/proxies.ts";
import type { ImageFiles } from "../transfer/pull-image.ts";
import type { Verify } from "../transfer/transfer.ts";
import type { DaemonClient } from "./daemon-client.ts";
import { needDaemon } from "./daemon-start.ts";
import { addImportOptions, type ChosenImage, type ImportOptions, printImage } from "./import-verb.ts";
import { print, say } from "./output.ts";
import { startProgress } from "./progress.ts";
import type { Context } from "./verb.ts";

/** What the verbs that download have in common: berthd does it, and goes on with it when its client is gone. */

export interface PullOptions extends ImportOptions {
  readonly keepDownload?: string;
  /** --no-keep-download's place: -N. */
  readonly N?: boolean;
  readonly wait: boolean;
}

const VERIFY: readonly Verify[] = ["no", "checksum", "signature"];

export function addVerifyOption(command: Command): Command {
  return command.option(
    "--verify <how>",
    "no, checksum, or signature: the checksums have to be signed by a known key",
    "signature",
  );
}

export function addPullOptions(command: Command): Command {
  return addImportOptions(command)
    .option("--keep-download <bool>", "keep what is downloaded for the next pull of it, for a week (default: no)")
    .option("-N", "the same as --keep-download=no")
    .option("--no-wait", "return when it has begun, and print its number");
}

/** @throws UsageError */
export function verifyOf(text: string): Verify {
  const verify = VERIFY.find((each) => each === text);
  if (verify !== undefined) return verify;
  throw new UsageError(`--verify=${quote(text)}: unknown`, `one of ${VERIFY.join(", ")}`);
}

/** @throws UsageError */
export function keepDownloadOf({ keepDownload = "no", N = false }: PullOptions): boolean {
  if (N) return false;
  if (/^(1|yes|y|true|t|on)$/i.test(keepDownload)) return true;
  if (/^(0|no|n|false|f|off)$/i.test(keepDownload)) return false;
  throw new UsageError(`--keep-download=${quote(keepDownload)} is neither yes nor no`);
}

interface Request extends Pick<PullParams, "kind" | "from" | "verify" | "keepDownload"> {
  readonly image: ChosenImage;
  readonly files?: ImageFiles;
  readonly architecture?: string;
  readonly driver?: "directory" | "stack" | undefined;
}

export async function pullByDaemon(context: Context, options: PullOptions, request: Request): Promise<number> {
  const { image: chosen, files = null, architecture = null, driver = null, ...rest } = request;
  const { nameIsDerived: _, ...image } = chosen;
  const client = await needDaemon(context.paths, context.env);
  try {
    const { id } = await follow(
      client,
      { ...rest, ...image, files, architecture, driver, proxies: proxiesIn(context.env), wait: options.wait },
      context,
    );
    if (!options.wait) print(`${id}\n`);
    else printImage(new ImageStore(context.paths), chosen, options);
    return 0;
  } finally {
    client.close();
  }
}

/** Shows how far it is until it ends; ^C cancels it. @throws what it failed with */
async function follow(client: DaemonClient, params: PullParams, context: Context): Promise<{ readonly id: number }> {
  const { signal, fancy, env } = context;
  const warnings: string[] = [];
  const progress = fancy ? startProgress(process.stderr, { fancy, title: params.name, env }) : undefined;
  const show = (fraction: number | null): void => progress?.update({ label: "downloading", fraction });
  let id: number | undefined;
  // Its own end says what became of it, so that is what is waited for.
  const cancel = (): void => {
    if (id !== undefined) client.call("cancelTransfer", { id }).catch(() => undefined);
  };
  const onEvent = (event: PullEvent): void => {
    if ("progress" in event) show(event.progress);
    else if ("warning" in event) warnings.push(event.warning);
    else {
      id = event.id;
      if (signal.aborted) cancel();
    }
  };
  signal.addEventListener("abort", cancel, { once: true });
  try {
    show(null);
    const done = await client.call("pull", params, { onEvent });
    progress?.end();
    for (const line of warnings) say(`${visible(line)}\n`);
    return done;
  } catch (error) {
    throw gone(error, id);
  } finally {
    progress?.end();
    signal.removeEventListener("abort", cancel);
  }
}

function gone(error: unknown, id: number | undefined): unknown {
  if (!(error instanceof BerthError) || id === undefined || error.message !== "berthd has gone") return error;
  return new BerthError(`transfer ${id} has ended with berthd`, {
    cause: error,
    hint: "pull it again: what came is kept, and the rest is asked for",
  });
}
