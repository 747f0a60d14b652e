import type { Command } from "commander";
import { UsageError } from "../../errors.ts";
import { quote } from "../../spec/quote.ts";
import { fileName } from "../../transfer/checksums.ts";
import { diskNameOf } from "../../transfer/compression.ts";
import { requireUrl } from "../../transfer/download.ts";
import type { Verify } from "../../transfer/transfer.ts";
import { addImportOptions, type ImportOptions, makeByTransfer, newImage } from "../import-verb.ts";
import type { Context, Runner } from "../verb.ts";

const VERIFY: readonly Verify[] = ["no", "checksum", "signature"];

interface Options extends ImportOptions {
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
    .argument("<url>", "where it is")
    .option(
      "--verify <how>",
      "no, checksum, or signature: the checksums have to be signed by a known key",
      "signature",
    );
  addImportOptions(command).action(run(pullRaw));
}

async function pullRaw(context: Context, address: string, name: string | undefined, options: Options): Promise<number> {
  const url = requireUrl(address);
  const verify = VERIFY.find((each) => each === options.verify);
  if (verify === undefined)
    throw new UsageError(`--verify=${quote(options.verify)}: unknown`, `one of ${VERIFY.join(", ")}`);
  const image = newImage(name, diskNameOf(fileName(url)), options);
  return makeByTransfer(context, options, (transfers) => transfers.pullRaw(url.href, image, verify));
}
