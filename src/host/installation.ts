import { existsSync, readFileSync } from "node:fs";
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

/** The stage's executable: beside the bundle, or in the sources when they run as they are. */
export function stagePath(arch: "x64" | "arm64"): string {
  stages[arch] ??= findStage(arch);
  return stages[arch];
}

function findStage(arch: "x64" | "arm64"): string {
  const built = join(INSTALLATION, "dist", `stage-${arch}`);
  return existsSync(built) ? built : join(INSTALLATION, "src", "stage", `stage-${arch}`);
}

const stages: { x64?: string; arm64?: string } = {};
