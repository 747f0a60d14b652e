import { type FileHandle, open } from "node:fs/promises";

/** Whether a qcow2 is all there, by its own tables: qemu-img(1) takes what lies beyond the end of the file for zeros, and tells nobody. */

const HEADER = 104;
const CLUSTER_BITS = { least: 9, most: 21 };
/** As qemu has it: of more it reads none. */
const L1_ENTRIES_MAX = 4 << 20;
const L1_PIECE = 64 << 10;
const ENTRY = 8;
const WORD = 2 ** 32;
/** Of the second version there are no features: what stands there is something else. */
const FEATURES_SINCE = 3;
const EXTERNAL_DATA = 1 << 2;
const EXTENDED_L2 = 1 << 4;
/** Of the upper and of the lower half of an entry: where it leads, in whole sectors. */
const PLACE = { upper: 0x00ffffff, lower: 0xfffffe00 };
const COMPRESSED = 1 << 30;
const ZEROS = 1;

interface Header {
  readonly clusterBits: number;
  readonly cluster: number;
  /** Bytes of the disk in it, as far as they are looked at. */
  readonly size: number;
  readonly l1: { readonly offset: number; readonly entries: number };
  /** Its entries are twice as long, and tell of parts of a cluster. */
  readonly isExtended: boolean;
}

export interface QcowLook {
  /** Bytes of the disk in it that are worth a look: tables of a few bytes may claim any number. */
  readonly most: number;
  readonly signal: AbortSignal;
}

/** Whether something of the disk in it lies beyond the end of the file. What is wrong with it otherwise qemu-img says. */
export async function isCutQcow(path: string, { most, signal }: QcowLook): Promise<boolean> {
  await using file = await open(path);
  const { size: end } = await file.stat();
  const header = headerOf(await read(file, 0, Buffer.alloc(HEADER)), most);
  if (header === null) return false;
  const { cluster, l1, isExtended } = header;
  if (l1.offset + l1.entries * ENTRY > end) return true;
  const covered = (cluster / (isExtended ? 2 * ENTRY : ENTRY)) * cluster;
  const table = Buffer.alloc(cluster);
  for await (const [index, offset] of tablesOf(file, header)) {
    signal.throwIfAborted();
    if (offset + cluster > end) return true;
    if (needed(await read(file, offset, table), index * covered, header) > end) return true;
  }
  return false;
}

function headerOf(head: Buffer, most: number): Header | null {
  const clusterBits = head.readUInt32BE(20);
  if (clusterBits < CLUSTER_BITS.least || clusterBits > CLUSTER_BITS.most) return null;
  const features = head.readUInt32BE(4) < FEATURES_SINCE ? 0 : head.readUInt32BE(76);
  // What it names is not there where it is converted.
  if ((features & EXTERNAL_DATA) !== 0) return null;
  const isExtended = (features & EXTENDED_L2) !== 0;
  const cluster = 2 ** clusterBits;
  const size = Math.min(Number(head.readBigUInt64BE(24)), most);
  const used = Math.ceil(size / ((cluster / (isExtended ? 2 * ENTRY : ENTRY)) * cluster));
  const entries = Math.min(head.readUInt32BE(36), used, L1_ENTRIES_MAX);
  return { clusterBits, cluster, size, l1: { offset: Number(head.readBigUInt64BE(40)), entries }, isExtended };
}

/** Where the tables of the second level are, by their numbers. */
async function* tablesOf(file: FileHandle, { l1 }: Header): AsyncGenerator<readonly [index: number, offset: number]> {
  const length = l1.entries * ENTRY;
  for (let start = 0; start < length; start += L1_PIECE) {
    const piece = await read(file, l1.offset + start, Buffer.alloc(Math.min(L1_PIECE, length - start)));
    for (let at = 0; at < piece.length; at += ENTRY) {
      const offset = placeOf(piece.readUInt32BE(at), piece.readUInt32BE(at + 4));
      if (offset !== 0) yield [(start + at) / ENTRY, offset];
    }
  }
}

/** How long the file has to be for all that a table leads to; `first`: the byte of the disk that its first entry is about. */
function needed(table: Buffer, first: number, { cluster, clusterBits, size, isExtended }: Header): number {
  const step = isExtended ? 2 * ENTRY : ENTRY;
  // One that is compressed has its length in the upper bits.
  const compressedPlace = 2 ** (70 - clusterBits - 32) - 1;
  let end = 0;
  for (let at = 0, guest = first; at < table.length && guest < size; at += step, guest += cluster) {
    const [upper, lower] = [table.readUInt32BE(at), table.readUInt32BE(at + 4)];
    if ((upper & COMPRESSED) !== 0) {
      // How much of it there has to be who unpacks it tells.
      end = Math.max(end, (upper & compressedPlace) * WORD + lower + 1);
      continue;
    }
    const used = isExtended ? usedOf(table.readUInt32BE(at + 12), cluster) : (lower & ZEROS) !== 0 ? 0 : cluster;
    const offset = placeOf(upper, lower);
    if (offset !== 0 && used !== 0) end = Math.max(end, offset + Math.min(used, size - guest));
  }
  return end;
}

/** Up to the last of the 32 parts of a cluster that is there. */
function usedOf(parts: number, cluster: number): number {
  return ((32 - Math.clz32(parts)) * cluster) / 32;
}

function placeOf(upper: number, lower: number): number {
  return (upper & PLACE.upper) * WORD + ((lower & PLACE.lower) >>> 0);
}

/** Fills it; with zeros, what is not there. */
async function read(file: FileHandle, position: number, buffer: Buffer): Promise<Buffer> {
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, position + length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return buffer.fill(0, length);
}
