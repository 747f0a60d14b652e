import type { Command } from "commander";
import { UsageError } from "../errors.ts";
import { ImageStore } from "../image/store.ts";
import { type Compression, compressionForFile, compressionNamed } from "../transfer/compression.ts";
import { openOutput } from "../transfer/files.ts";
import type { Transfer } from "../transfer/transfer.ts";
import { Transfers } from "../transfer/transfers.ts";
import { followTransfer } from "./follow-transfer.ts";
import type { Context } from "./verb.ts";

/** What the verbs that write an image to a file have in common. */

export interface ExportOptions {
  readonly format?: string;
}

export function addExportOptions(command: Command, what: string): Command {
  return command
    .argument("<name>", "the image")
    .argument("[file]", `${what}; standard output without it, or for -`)
    .option("--format <format>", "none, gzip, xz, zstd or bzip2; by default what the file's name ends with");
}

export interface Export {
  readonly name: string;
  readonly fd: number;
  readonly format: Compression;
  /** Where it goes, as text. */
  readonly remote: string;
}

export async function exportByTransfer(
  context: Context,
  name: string,
  file: string,
  options: ExportOptions,
  start: (transfers: Transfers, what: Export) => Transfer,
): Promise<number> {
  const format = options.format === undefined ? formatOf(file) : compressionNamed(options.format);
  const store = new ImageStore(context.paths);
  store.get(name);
  if (file === "-" && process.stdout.isTTY)
    throw new UsageError("an archive is nothing for a terminal", "name a file, or redirect it");
  using output = openOutput(file);
  const transfers = new Transfers(store);
  const transfer = start(transfers, { name, fd: output.fd, format, remote: file === "-" ? "" : file });
  await followTransfer(transfers, transfer, context);
  output.commit();
  return 0;
}

/** Formats that a name promises and nobody here writes. */
const OTHERS = /\.(zip|7z|rar|cpio|lz4|lzma|qcow2|vmdk|vdi|vhdx?)$/i;

/** @throws UsageError */
function formatOf(file: string): Compression {
  const other = OTHERS.exec(file)?.[1];
  if (other === undefined) return compressionForFile(file);
  throw new UsageError(`berth writes no ${other}`, "a name with .gz, .xz, .zst or .bz2, or none of these, or --format");
}
