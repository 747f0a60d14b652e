import type { Command } from "commander";
import { fileName } from "../../transfer/checksums.ts";
import { diskNameOf } from "../../transfer/compression.ts";
import { requireUrl } from "../../transfer/http.ts";
import { newImage } from "../import-verb.ts";
import {
  addPullOptions,
  addVerifyOption,
  keepDownloadOf,
  type PullOptions,
  pullByDaemon,
  verifyOf,
} from "../pull-verb.ts";
import type { Context, Runner } from "../verb.ts";

interface Options extends PullOptions {
  readonly verify: string;
}

export function define(program: Command, run: Runner): void {
  const command = program
    .command("pull-raw")
    .summary("download a disk image and make an image of it")
    .description(
      "Downloads a disk image over http or https, verifies it, and then unpacks it as import-raw does. Its SHA-256 is " +
        "looked for in URL.sha256 and in SHA256SUMS beside it.",
    )
    .argument("<url>", "where it is");
  addPullOptions(addVerifyOption(command)).action(run(pullRaw));
}

async function pullRaw(context: Context, address: string, name: string | undefined, options: Options): Promise<number> {
  const url = requireUrl(address);
  const verify = verifyOf(options.verify);
  const image = newImage(name, diskNameOf(fileName(url)), options);
  const keepDownload = keepDownloadOf(options);
  return pullByDaemon(context, options, { kind: "raw", from: url.href, image, verify, keepDownload });
}
