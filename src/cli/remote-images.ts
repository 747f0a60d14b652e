import { remoteImages } from "../transfer/remote-images.ts";
import { findRemote } from "../transfer/remotes.ts";
import type { RemoteImage } from "../transfer/simplestreams.ts";
import { isoTime } from "./image-fields.ts";
import { printJson } from "./output.ts";
import { archOf } from "./remote-option.ts";
import { formatBytes } from "./sizes.ts";
import { printTable, type TableOptions } from "./table-options.ts";
import type { Context } from "./verb.ts";

interface Options extends TableOptions {
  readonly arch?: string;
  readonly all?: boolean;
  readonly json?: boolean;
}

/** What a server has whose aliases, description or fingerprint have `filter` in them; of the host's architecture, or all. */
export async function listRemoteImages(
  { paths, signal }: Context,
  { remote, name: filter }: { readonly remote: string; readonly name: string },
  options: Options,
): Promise<void> {
  const { arch, all = false, json = false } = options;
  const architecture = arch === undefined && all ? undefined : archOf(arch);
  const images = (await remoteImages(findRemote(paths, remote), signal))
    .filter((image) => architecture === undefined || image.architecture === architecture)
    .filter(({ aliases, description, fingerprint }) =>
      [...aliases, description.toLowerCase(), fingerprint].some((text) => text.includes(filter.toLowerCase())),
    )
    .sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  if (json) printJson(images.map(fields));
  else printTable({ header: HEADER, rows: images.map(row), records: images.map(fields), none: "no images" }, options);
}

const HEADER = ["ALIAS", "FINGERPRINT", "ARCH", "SIZE", "DATE", "DESCRIPTION"];

function keyOf({ aliases, architecture }: RemoteImage): string {
  return `${aliases[0] ?? ""} ${architecture}`;
}

function sizeOf({ metadata, root }: RemoteImage): number {
  return root.size + (metadata?.size ?? 0);
}

/** ms since the epoch; null: its serial begins with no date. */
function dateOf({ serial }: RemoteImage): number | null {
  const date = Date.parse(serial.replace(/^(\d{4})(\d\d)(\d\d).*$/, "$1-$2-$3"));
  return Number.isNaN(date) ? null : date;
}

function row(image: RemoteImage): readonly string[] {
  const { aliases, fingerprint, architecture, description } = image;
  const date = isoTime(dateOf(image))?.slice(0, "2026-01-01".length) ?? "-";
  return [shortest(aliases), fingerprint.slice(0, 12), architecture, formatBytes(sizeOf(image)), date, description];
}

/** `alpine/3.20`, where that is alpine/3.20/default too. */
function shortest(aliases: readonly string[]): string {
  const short = [...aliases].sort((a, b) => a.length - b.length)[0] ?? "-";
  return aliases.length > 1 ? `${short} (${aliases.length - 1} more)` : short;
}

function fields(image: RemoteImage) {
  const { aliases, fingerprint, architecture, description, serial, format } = image;
  return {
    aliases,
    fingerprint,
    architecture,
    size: sizeOf(image),
    created: isoTime(dateOf(image)),
    serial,
    description,
    format,
  };
}
