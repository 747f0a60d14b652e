import type { Command } from "commander";
import { fileName } from "../../transfer/checksums.ts";
import { imageNameOf } from "../../transfer/compression.ts";
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
    .command("pull-tar")
    .summary("download a tar archive and make an image of it")
    .description(
      "Downloads an archive over http or https, verifies it, and then unpacks it as import-tar does. Its SHA-256 is " +
        "looked for in URL.sha256 and in SHA256SUMS beside it.",
    )
    .argument("<url>", "where it is");
  addPullOptions(addVerifyOption(command)).action(run(pullTar));
}

async function pullTar(context: Context, address: string, name: string | undefined, options: Options): Promise<number> {
  const url = requireUrl(address);
  const verify = verifyOf(options.verify);
  const image = newImage(name, imageNameOf(fileName(url)), options);
  const keepDownload = keepDownloadOf(options);
  return pullByDaemon(context, options, { kind: "tar", from: url.href, image, verify, keepDownload });
}
