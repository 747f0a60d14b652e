import { closeSync, openSync, readlinkSync, readSync } from "node:fs";
import { errorCode } from "../errors.ts";
import { readHead } from "../sys/read-head.ts";

const [AF_INET, AF_INET6] = [2, 10] as const;
/** if_inet6: ipv6(7) has no word for its columns; net/ipv6/addrconf.c writes address, index, prefix, scope, flags, name. */
const SCOPE_HOST = 0x10;
const IFA_F_DEPRECATED = 0x20;
const IFA_F_TENTATIVE = 0x40;
/** Bytes: a machine has as many routes as it likes, and we as much patience as we like. */
const TEXT_MAX = 1 << 18;

export interface Address {
  readonly family: typeof AF_INET | typeof AF_INET6;
  /** In network order. */
  readonly bytes: Buffer;
}

let ours: string | undefined;

/** Whether a process has a network of its own. */
export function hasOwnNetwork(pid: number): boolean {
  ours ??= namespaceOf("self");
  return namespaceOf(pid) !== ours;
}

/**
 * Addresses that others can reach a process's network by: not those of its loopback. IPv4 first. From what the kernel
 * says of it in /proc, so that nothing has to enter it.
 */
export function addressesOf(pid: number): readonly Address[] {
  return [...readIpv4(textOf(pid, "fib_trie")), ...readIpv6(textOf(pid, "if_inet6"))];
}

/** The same as people write them; none where the network is the host's, whose addresses are not the machine's, or nobody's business. */
export function showAddressesOf(pid: number): readonly string[] {
  ours ??= namespaceOf("self");
  const theirs = namespaceOf(pid);
  const isOwn = theirs !== undefined && theirs !== ours;
  return isOwn ? addressesOf(pid).map(showAddress) : [];
}

/** Each address of the host's own is a leaf of the table `local`: its line, then one that ends in `/32 host LOCAL`. */
export function parseFibTrie(text: string): readonly Address[] {
  const found = [...text.matchAll(/\|-- ([0-9.]+)\n(?:\s+\/\d+ .*\n)*?\s+\/32 host LOCAL/g)].map(
    ([, address = ""]) => address,
  );
  return [...new Set(found)]
    .map((address) => Buffer.from(address.split(".").map(Number)))
    .filter((bytes) => bytes.length === 4 && bytes[0] !== 127)
    .map((bytes) => ({ family: AF_INET, bytes }));
}

/** Those that reach further come first. */
export function parseIfInet6(text: string): readonly Address[] {
  const rows = text.split("\n").map((line) => line.trim().split(/\s+/));
  return rows
    .map(([address = "", , , scope = "", flags = ""]) => ({ address, scope: hex(scope), flags: hex(flags) }))
    .filter(({ address, scope, flags }) => {
      const usable = scope !== SCOPE_HOST && (flags & (IFA_F_DEPRECATED | IFA_F_TENTATIVE)) === 0;
      return usable && /^[0-9a-f]{32}$/.test(address);
    })
    .sort((a, b) => a.scope - b.scope)
    .map(({ address }) => ({ family: AF_INET6, bytes: Buffer.from(address, "hex") }));
}

function hex(text: string): number {
  return Number.parseInt(text, 16);
}

/** As people write it. */
export function showAddress({ family, bytes }: Address): string {
  if (family === AF_INET) return [...bytes].join(".");
  const groups = bytes.toString("hex").match(/.{4}/g) ?? [];
  // URL knows the rules of RFC 5952.
  return new URL(`http://[${groups.join(":")}]/`).hostname.slice(1, -1);
}

const [readIpv4, readIpv6] = [remembering(parseFibTrie), remembering(parseIfInet6)] as const;

/** Most machines of a list have the same to tell: that there is a loopback. */
function remembering(parse: (text: string) => readonly Address[]): (text: string) => readonly Address[] {
  let last: { readonly text: string; readonly found: readonly Address[] } | undefined;
  return (text) => {
    if (last?.text !== text) last = { text, found: parse(text) };
    return last.found;
  };
}

const PAGE = 4096;
let page: Buffer | undefined;

function textOf(pid: number, file: string): string {
  const path = `/proc/${pid}/net/${file}`;
  try {
    page ??= Buffer.allocUnsafeSlow(PAGE);
    const fd = openSync(path, "r");
    const length = readWhole(fd, page);
    return length === null ? readHead(path, TEXT_MAX).toString("latin1") : page.toString("latin1", 0, length);
  } catch (error) {
    // The process has just gone, or its kernel has no such protocol.
    if (["ENOENT", "EINVAL", "ESRCH"].includes(errorCode(error) ?? "")) return "";
    throw error;
  }
}

/** Null: there is more. A read ends where the next record of the file would not fit, which may be long (seq_file of the kernel). */
function readWhole(fd: number, into: Buffer): number | null {
  try {
    const length = readSync(fd, into, 0, into.length, null);
    const isWhole = length < into.length && readSync(fd, into, length, into.length - length, null) === 0;
    return isWhole ? length : null;
  } finally {
    closeSync(fd);
  }
}

function namespaceOf(pid: number | "self"): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return undefined; // it has just gone, or is another user's
  }
}
