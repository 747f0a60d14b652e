import { BerthError, UsageError } from "../errors.ts";
import { findConfined } from "../host/confine.ts";

export interface Compression {
  readonly name: "none" | "gzip" | "xz" | "zstd" | "bzip2";
  /** How file names end that have it, dots left out. */
  readonly suffixes: readonly string[];
  /** What its data begins with: a regular expression over hexadecimal digits. */
  readonly magic: RegExp | null;
  /** Commands, standard input to standard output, the quickest first; the last one is Debian's usual. None: nothing is to be done. */
  readonly pack: readonly (readonly string[])[];
  readonly unpack: readonly (readonly string[])[];
}

/** What packs and unpacks parses what somebody else made, and needs no rights at all. */
export const PACKER = { capabilities: [], nobody: true } as const;

/** Bytes of the beginning that tell. */
export const MAGIC_LENGTH = 6;

export const NONE: Compression = { name: "none", suffixes: ["tar"], magic: null, pack: [], unpack: [] };

/** Of the unpackers' memory: what xz -9 and zstd --ultra need, but not what a hostile header can ask for. */
const MEMORY = "256MiB";

/**
 * gzip(1) as igzip(1) does it: what is cut or has a wrong sum is an error, and what follows, but for the beginning of another
 * member, is not looked at. That is a warning for gzip, status 2; but of a single byte it says that more should come: so two
 * more do, which begin nothing.
 */
const GUNZIP = `
{ cat; printf '\\213\\213'; } | gzip -dcq
status=$?
[ "$status" -ne 2 ] || status=0
exit "$status"
`;

const COMPRESSIONS: readonly Compression[] = [
  NONE,
  {
    name: "gzip",
    suffixes: ["tar.gz", "tgz"],
    magic: /^1f8b/,
    pack: [
      ["pigz", "-cn"],
      ["gzip", "-cn"],
    ],
    // Of 114 MB here: 0.2 to 0.28 s, 0.8. pigz (0.5) takes a member that is cut in its header for something that follows.
    unpack: [
      ["igzip", "-dc"],
      ["sh", "-c", GUNZIP],
    ],
  },
  {
    name: "xz",
    suffixes: ["tar.xz", "txz"],
    magic: /^fd377a585a00/,
    pack: [["xz", "-c", "-T0"]],
    unpack: [["xz", "-dc", `--memlimit-decompress=${MEMORY}`]],
  },
  {
    name: "zstd",
    suffixes: ["tar.zst", "tar.zstd", "tzst"],
    // A frame, or one to be skipped (pzstd).
    magic: /^(28b52ffd|5.2a4d18)/,
    pack: [["zstd", "-c", "-q", "-T0"]],
    unpack: [["zstd", "-dc", "-q", `--memory=${MEMORY}`]],
  },
  {
    name: "bzip2",
    suffixes: ["tar.bz2", "tbz2", "tbz"],
    magic: /^425a68/,
    pack: [["bzip2", "-c"]],
    unpack: [["bzip2", "-dc"]],
  },
];

export function compressionOf(head: Buffer): Compression {
  const digits = head.subarray(0, MAGIC_LENGTH).toString("hex");
  return COMPRESSIONS.find(({ magic }) => magic?.test(digits)) ?? NONE;
}

/** By the name of a file that is to be written: `.gz` is enough. */
export function compressionForFile(path: string): Compression {
  const ends = ({ suffixes }: Compression): boolean =>
    suffixes.some((suffix) => path.endsWith(suffix.startsWith("tar.") ? suffix.slice("tar".length) : `.${suffix}`));
  return COMPRESSIONS.find(ends) ?? NONE;
}

/** @throws UsageError */
export function compressionNamed(name: string): Compression {
  // As machinectl(1) and importctl(1) call them.
  const wanted = name === "uncompressed" ? "none" : name;
  const found = COMPRESSIONS.find((each) => each.name === wanted);
  if (found !== undefined) return found;
  throw new UsageError(`unknown format ${name}`, `one of ${COMPRESSIONS.map((each) => each.name).join(", ")}`);
}

/** The same by that of a disk image: `web` of `a/web.raw.xz` or `web.qcow2`. */
export function diskNameOf(file: string): string {
  const base = file.replace(/\/+$/, "").split("/").at(-1) ?? "";
  const endings = COMPRESSIONS.flatMap(({ suffixes }) => suffixes)
    .filter((suffix) => suffix.startsWith("tar."))
    .map((suffix) => suffix.slice("tar".length));
  const ending = endings.find((each) => base.endsWith(each)) ?? "";
  return base.slice(0, base.length - ending.length).replace(/\.(raw|img|qcow2)$/, "");
}

/** The name that an image gets by that of its archive: `web` of `a/web.tar.xz`. */
export function imageNameOf(file: string): string {
  const base = file.replace(/\/+$/, "").split("/").at(-1) ?? "";
  const suffix = COMPRESSIONS.flatMap(({ suffixes }) => suffixes).find((each) => base.endsWith(`.${each}`));
  return suffix === undefined ? base : base.slice(0, -suffix.length - 1);
}

/** The first command that can be run, confined. Empty: nothing is to be done. @throws BerthError: none can */
export function programOf(compression: Compression, way: "pack" | "unpack"): readonly string[] {
  const commands = compression[way];
  const found = commands.find(([program = ""]) => findConfined(program) !== undefined);
  if (found === undefined && commands.length > 0) throw missingProgram(compression);
  return found ?? [];
}

export function missingProgram({ name }: Compression): BerthError {
  return new BerthError(`an archive compressed by ${name} needs ${name}, not installed here`, {
    hint: `apt-get install ${name === "xz" ? "xz-utils" : name}`,
  });
}
