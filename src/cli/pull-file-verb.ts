import type { Command } from "commander";
import { fileName } from "../transfer/checksums.ts";
import { requireUrl } from "../transfer/url.ts";
import { newImage } from "./import-verb.ts";
import {
  addPullOptions,
  addVerifyOption,
  keepDownloadOf,
  type PullOptions,
  pullByDaemon,
  verifyOf,
} from "./pull-verb.ts";
import type { Context, Runner } from "./verb.ts";

/** The verbs that download one file from an address: pull-KIND. */

interface Options extends PullOptions {
  readonly verify: string;
}

export interface FileKind {
  readonly kind: "tar" | "raw";
  /** With its article. */
  readonly what: string;
  /** An image's name from the file's. */
  readonly imageNameOf: (file: string) => string;
}

export function definePullFile(program: Command, run: Runner, { kind, what, imageNameOf }: FileKind): void {
  const pull = async (context: Context, address: string, name: string | undefined, options: Options) => {
    const url = requireUrl(address);
    const verify = verifyOf(options.verify);
    const image = newImage(name, imageNameOf(fileName(url)), options);
    const keepDownload = keepDownloadOf(options);
    return pullByDaemon(context, options, { kind, from: url.href, image, verify, keepDownload });
  };
  const command = program
    .command(`pull-${kind}`)
    .summary(`download ${what} and make an image of it`)
    .description(
      `Downloads ${what} over http or https, verifies it, and then unpacks it as import-${kind} does. Its SHA-256 is ` +
        "looked for in URL.sha256 and in SHA256SUMS beside it.",
    )
    .argument("<url>", "where it is");
  addPullOptions(addVerifyOption(command)).action(run(pull));
}
