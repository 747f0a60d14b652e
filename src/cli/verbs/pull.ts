import type { Command } from "commander";
import { UsageError } from "../../errors.ts";
import { checkName } from "../../spec/name.ts";
import { quote } from "../../spec/quote.ts";
import type { ImageFiles, Located } from "../../transfer/pull-image.ts";
import { remoteImages } from "../../transfer/remote-images.ts";
import { splitRemote } from "../../transfer/remote-name.ts";
import { findRemote, type Remote } from "../../transfer/remotes.ts";
import { addressOf, type RemoteFile, type RemoteImage, selectImage } from "../../transfer/simplestreams.ts";
import { newImage } from "../import-verb.ts";
import { say } from "../output.ts";
import { addPullOptions, keepDownloadOf, type PullOptions, pullByDaemon } from "../pull-verb.ts";
import { addArchOption, archOf } from "../remote-option.ts";
import type { Context, Runner } from "../verb.ts";

interface Options extends PullOptions {
  readonly arch?: string;
}

export function define(program: Command, run: Runner): void {
  const command = program
    .command("pull")
    .summary("download an image from an image server")
    .description(
      "Downloads the newest image of that name from a server of LXC's or Incus's protocol: images:debian/12, " +
        "images:alpine/3.20/cloud, images:alpine/3.20/arm64, or the beginning of a fingerprint. Sizes and checksums are those " +
        "that the server's index has.",
    )
    .argument(
      "<remote:image>",
      "the server, by its name (berth remote list), and what it has (berth list-images REMOTE:)",
    );
  addArchOption(addPullOptions(command)).action(run(pull));
}

async function pull(context: Context, from: string, name: string | undefined, options: Options): Promise<number> {
  const split = splitRemote(from);
  if (split === undefined || split.name === "")
    throw new UsageError(
      `${quote(from)} names no image of a remote`,
      "as in images:debian/12; an address is for pull-tar",
    );
  const arch = archOf(options.arch);
  const keepDownload = keepDownloadOf(options);
  const image = newImage(name, nameOf(split.name), options);
  const remote = findRemote(context.paths, split.remote);
  warnOf(remote);
  const found = selectImage(await remoteImages(remote, context.signal), split.remote, split.name, arch);
  const files = filesOf(remote, found);
  return pullByDaemon(context, options, { kind: "image", from, image, files, verify: "checksum", keepDownload });
}

/** `alpine-3.20` of alpine/3.20. */
function nameOf(alias: string): string {
  const name = alias.replace(/[^A-Za-z0-9_.-]+/g, "-");
  return checkName(name) === undefined ? name : "";
}

/** What is not encrypted may be anybody's, its checksums included. */
function warnOf({ name, url }: Remote): void {
  if (url.protocol === "https:" || /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname)) return;
  say(`berth: remote ${name} is not encrypted: who is between may change what comes, checksums included\n`);
}

function filesOf({ url }: Remote, { metadata, root, format, fingerprint }: RemoteImage): ImageFiles {
  const located = ({ path, sha256, size }: RemoteFile): Located => ({ url: addressOf(url, path).href, sha256, size });
  return { metadata: metadata && located(metadata), root: located(root), format, fingerprint };
}
