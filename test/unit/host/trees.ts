import { execFileSync } from "node:child_process";
import { chmodSync, linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

/** A tree in a temporary directory, gone with `using`. Paths are inside the tree. */
export class TestTree {
  /** Beside the tree, never part of it: what a hostile tree is after. */
  readonly outside: string;
  readonly root: string;

  constructor() {
    this.outside = mkdtempSync(join(tmpdir(), "berth-tree-"));
    this.root = join(this.outside, "root");
    mkdirSync(this.root);
    writeFileSync(join(this.outside, "secret"), "SECRET\n");
  }

  [Symbol.dispose](): void {
    rmSync(this.outside, { recursive: true, force: true });
  }

  directory(path: string): void {
    mkdirSync(join(this.root, path), { recursive: true });
  }

  file(path: string, content: string | Buffer, mode = 0o644): void {
    this.#parent(path);
    writeFileSync(join(this.root, path), content);
    chmodSync(join(this.root, path), mode);
  }

  link(path: string, target: string): void {
    this.#parent(path);
    symlinkSync(target, join(this.root, path));
  }

  hardLink(path: string, existing: string): void {
    this.#parent(path);
    linkSync(join(this.root, existing), join(this.root, path));
  }

  fifo(path: string): void {
    this.#parent(path);
    execFileSync("mkfifo", [join(this.root, path)]);
  }

  sparse(path: string, size: number): void {
    this.file(path, "");
    truncateSync(join(this.root, path), size);
  }

  #parent(path: string): void {
    mkdirSync(dirname(join(this.root, path)), { recursive: true });
  }
}

/** The first 64 bytes of a little-endian ELF file. */
export function elf(machine: number, bits: 32 | 64 = 64): Buffer {
  const header = Buffer.alloc(64);
  header.write("\x7fELF", "latin1");
  header.writeUInt8(bits === 64 ? 2 : 1, 4);
  header.writeUInt8(1, 5);
  header.writeUInt16LE(2, 16);
  header.writeUInt16LE(machine, 18);
  return header;
}
export const EM_386 = 3;
export const EM_ARM = 40;
export const EM_X86_64 = 62;
export const EM_AARCH64 = 183;
