import type { TestContext } from "vitest";
import { findTool, needsHere } from "./requires.ts";

const EMULATORS = { x64: "qemu-x86_64-static", arm64: "qemu-aarch64-static" } as const;
type Arch = keyof typeof EMULATORS;

/** What a static program of an architecture is run by here: nothing, or qemu's user mode emulation. An arm64 host may rightly lack it. */
export function runnerOf(ctx: TestContext, arch: Arch): readonly string[] {
  if (process.arch === arch) return [];
  const name = EMULATORS[arch];
  if (process.arch === "x64") needsHere(ctx, `tool:${name}`);
  return [findTool(name) ?? ctx.skip(`needs tool:${name}: no ${name} in PATH`)];
}
