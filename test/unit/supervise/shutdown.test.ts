import { spawn } from "node:child_process";
import type fs from "node:fs";
import { expect, test, vi } from "vitest";
import { handlesSignal } from "../../../src/supervise/shutdown.ts";

/** As with kernel.yama.ptrace_scope=3. */
const host = vi.hoisted(() => ({ mayTrace: true }));
vi.mock("node:fs", async (original) => {
  const real = await original<typeof fs>();
  const readFileSync = (path: string, encoding: "utf8"): string => {
    if (!host.mayTrace && path.endsWith("/syscall")) throw new Error("EPERM");
    return real.readFileSync(path, encoding);
  };
  return { ...real, readFileSync };
});

const SIGPROF = 27;

test("a signal with a handler is handled, one without is not", async () => {
  expect(await handlesSignal(process.pid, SIGPROF)).toBe(false);
  const handler = (): void => undefined;
  process.on("SIGPROF", handler);
  expect(await handlesSignal(process.pid, SIGPROF)).toBe(true);
  process.off("SIGPROF", handler);
  expect(await handlesSignal(process.pid, SIGPROF)).toBe(false);
});

test("one that is blocked, to be read from a signalfd as systemd does, is handled", async () => {
  // env(1) of coreutils blocks signals for what it runs.
  const child = spawn("env", ["--block-signal=PROF", "sleep", "100"]);
  try {
    await expect.poll(() => handlesSignal(child.pid ?? -1, SIGPROF)).toBe(true);
    expect(await handlesSignal(child.pid ?? -1, 15)).toBe(false);
  } finally {
    child.kill("SIGKILL");
  }
});

test("a process that is gone handles nothing", async () => {
  expect(await handlesSignal(0x3fffffff, 15)).toBe(false);
});

test("a handler is seen also where nobody may look at another process's system calls", async () => {
  const handler = (): void => undefined;
  process.on("SIGPROF", handler);
  host.mayTrace = false;
  try {
    expect(await handlesSignal(process.pid, SIGPROF)).toBe(true);
  } finally {
    host.mayTrace = true;
    process.off("SIGPROF", handler);
  }
});
