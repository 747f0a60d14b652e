import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import * as constants from "../../../src/sys/constants.ts";
import { findTool, needsHere } from "../../lib/requires.ts";

const CROSS_COMPILERS = { x64: "x86_64-linux-gnu-gcc", arm64: "aarch64-linux-gnu-gcc" } as const;

/** One that has a new constant joins the list. libc's first, as the kernel's of the same things give way to them. */
const HEADERS =
  `fcntl.h unistd.h sched.h signal.h sys/socket.h sys/mount.h sys/stat.h sys/file.h sys/wait.h sys/ioctl.h sys/resource.h
  sys/prctl.h net/if.h linux/openat2.h linux/sched.h linux/fs.h linux/capability.h linux/personality.h linux/keyctl.h
  linux/seccomp.h linux/sockios.h linux/magic.h`.split(/\s+/);

/** Ours, as they are for an architecture. */
function ours(arch: "x64" | "arm64"): Map<string, number> {
  const { OPEN_FLAGS, LINUX_CAPABILITY_VERSION_3, WALL, ...rest } = constants;
  return new Map(
    Object.entries({
      ...rest,
      ...OPEN_FLAGS[arch],
      _LINUX_CAPABILITY_VERSION_3: LINUX_CAPABILITY_VERSION_3,
      __WALL: WALL,
    }),
  );
}

// As numbers are mistyped: above all those of the architecture that nothing here runs.
test.for(["x64", "arm64"] as const)("are the kernel's: %s", (arch, ctx) => {
  const compiler = process.arch === arch ? "gcc" : CROSS_COMPILERS[arch];
  // Only an arm64 host may lack the other one: .scripts/test installs it on x86-64.
  if (process.arch === arch || process.arch === "x64") needsHere(ctx, `tool:${compiler}`);
  else if (findTool(compiler) === undefined) ctx.skip(`needs tool:${compiler}: no ${compiler} in PATH`);
  const values = ours(arch);
  const source = [
    "#define _GNU_SOURCE",
    ...HEADERS.map((header) => `#include <${header}>`),
    ...[...values.keys()].map((name) => `const unsigned long long value_${name} = (${name});`),
  ].join("\n");
  const run = spawnSync(compiler, ["-S", "-o-", "-xc", "-"], { input: source, encoding: "utf8" });
  expect(run.stderr).toBe("");
  const known = [...run.stdout.matchAll(/^value_(\w+):\n\s+\.(?:quad|xword|zero)\s+(-?\d+)$/gm)];
  const theirs = known.map(([text, name = "", number]) => [name, text.includes(".zero") ? 0 : Number(number)] as const);
  expect(theirs.length).toBe(values.size);
  expect(new Map(theirs)).toEqual(values);
});
