import { readFileSync } from "node:fs";
import { basename, join } from "node:path";

const here = import.meta.dirname;
/** The directory berth runs from, with dist/, bootstrap/ and node_modules/: a checkout, or /usr/lib/berth. This file is in dist/ or src/host/. */
export const INSTALLATION = basename(here) === "dist" ? join(here, "..") : join(here, "..", "..");

/** Of package.json. */
export function berthVersion(): string {
  return (JSON.parse(readFileSync(join(INSTALLATION, "package.json"), "utf8")) as { version: string }).version;
}

/** The command line's program, for processes that this one starts: the bundle, or the sources when they run as they are. */
export function clientProgram(): string {
  return basename(here) === "dist" ? join(here, "berth.cjs") : join(INSTALLATION, "src", "cli", "main.ts");
}

type Arch = "x64" | "arm64";

/** The stage's executable: beside the bundle, or in the sources when they run as they are. */
export function stagePath(arch: Arch): string {
  return ownProgram("stage", arch);
}

/** The same of what copies trees. */
export function treeCopierPath(arch: Arch): string {
  return ownProgram("tree-copier", arch);
}

const found = new Map<string, string>();

function ownProgram(name: "stage" | "tree-copier", arch: Arch): string {
  const file = `${name}-${arch}`;
  const known = found.get(file) ?? findOwn(name, file);
  found.set(file, known);
  return known;
}

function findOwn(name: string, file: string): string {
  return basename(here) === "dist" ? join(here, file) : join(INSTALLATION, "src", name, file);
}
