/** What is on a disk, as partx(8) and blkid(8) tell it. Nothing in it is trusted. */
export interface DiskTable {
  /** pmbr: what stands before a GPT, which is not there. */
  readonly scheme: "gpt" | "dos" | "pmbr" | null;
  /** By number. Of those that lie beyond the disk's end, or are longer than it, too. */
  readonly partitions: readonly Partition[];
  /** Of the disk as a whole; null: none that is known. */
  readonly content: Content | null;
}

export interface Partition {
  readonly number: number;
  /** Bytes from the beginning of the disk, and how many. */
  readonly offset: number;
  readonly size: number;
  /** GPT: a UUID; else a number like `0x83`. */
  readonly type: string;
  readonly flags: bigint;
  /** As its maker wrote it. */
  readonly label: string;
  readonly content: Content | null;
}

/** What libblkid takes it for: `ext4`, `crypto_LUKS`. */
export interface Content {
  readonly type: string;
  readonly usage: string;
}

const SECTOR = 512;
/** What a table has that is made for a machine; `partx` shows one more, to tell that there are. */
export const PARTITIONS_MAX = 128;

/**
 * Prints the table of /tree and what is in each part, in lines that `parseTable` reads. The programs' memory and time
 * are bounded, and they have no rights but to read it.
 */
export const SCRIPT = `
set +e
limited() { as_reader prlimit --as=268435456 --cpu=5 --fsize=0 --core=0 "$@" /tree 2>&1; }
probe() { limited blkid -p -o export -s TYPE -s USAGE -s PTTYPE "$@"; echo "berth-status $?"; }
echo berth-whole
probe
echo berth-table
limited partx --pairs -o NR,START,SECTORS,SCHEME,FLAGS,TYPE,NAME | head -n ${PARTITIONS_MAX + 1}
limited partx --raw --noheadings -o NR,START,SECTORS | grep -E '^[0-9]{1,9}( [0-9]{1,15}){2}$' | head -n ${PARTITIONS_MAX} |
  while read -r number start sectors; do
    echo "berth-part $number"
    probe -O "$((start * ${SECTOR}))" -S "$((sectors * ${SECTOR}))"
  done
echo berth-end
`;

/** Null: the lines are not all there. */
export function parseTable(lines: readonly string[]): DiskTable | null {
  if (lines.at(-1) !== "berth-end") return null;
  const rows: Row[] = [];
  const found = new Map<number | "whole", Map<string, string>>();
  let at: number | "whole" | "table" = "table";
  for (const line of lines) {
    const part = /^berth-part (\d{1,9})$/.exec(line)?.[1];
    if (line === "berth-whole") at = "whole";
    else if (line === "berth-table") at = "table";
    else if (part !== undefined) at = Number(part);
    else if (at === "table") rows.push(...(rowOf(line) ?? []));
    else {
      const fields: Map<string, string> = found.get(at) ?? new Map();
      found.set(at, fields);
      const [, name, value] = /^([A-Z]+)=(.*)$/.exec(line) ?? [];
      if (name !== undefined && value !== undefined) fields.set(name, value);
    }
  }
  const whole = found.get("whole");
  const scheme = schemeOf(whole?.get("PTTYPE") ?? rows[0]?.scheme);
  const partitions = rows.map(({ scheme: _, ...row }) => ({ ...row, content: contentOf(found.get(row.number)) }));
  return { scheme, partitions, content: contentOf(whole) };
}

type Row = Omit<Partition, "content"> & { readonly scheme: string };

/** One line of `partx --pairs`; empty: it is none. The label is last, where a long line is cut. */
function rowOf(line: string): readonly Row[] | null {
  const [, number, start, sectors, scheme, flags, type, label] =
    /^NR="(\d+)" START="(\d+)" SECTORS="(\d+)" SCHEME="(\w*)" FLAGS="(0x[0-9a-f]+)" TYPE="([0-9a-zA-Z-]*)" NAME="([^"]*)/.exec(
      line,
    ) ?? [];
  if (number === undefined || start === undefined || sectors === undefined || flags === undefined) return null;
  return [
    {
      number: Number(number),
      offset: Number(start) * SECTOR,
      size: Number(sectors) * SECTOR,
      scheme: scheme ?? "",
      flags: BigInt(flags),
      type: (type ?? "").toLowerCase(),
      label: unescapeHex(label ?? ""),
    },
  ];
}

function schemeOf(text: string | undefined): DiskTable["scheme"] {
  if (text === "PMBR") return "pmbr";
  return text === "gpt" || text === "dos" ? text : null;
}

function contentOf(fields: ReadonlyMap<string, string> | undefined): Content | null {
  const type = fields?.get("TYPE");
  return type === undefined ? null : { type, usage: fields?.get("USAGE") ?? "" };
}

/** `\x24` of bytes that libsmartcols would not print. */
function unescapeHex(text: string): string {
  const bytes = Buffer.from(text, "utf8").toString("latin1");
  const unescaped = bytes.replace(/\\x([0-9a-f]{2})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 16)),
  );
  return Buffer.from(unescaped, "latin1").toString("utf8");
}
