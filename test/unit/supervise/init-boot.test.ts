import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { hasBootEnd, isBooted } from "../../../src/supervise/init-boot.ts";
import { readHead } from "../../../src/sys/read-head.ts";

const running: ChildProcess[] = [];
afterEach(() => {
  for (const child of running.splice(0)) process.kill(-(child.pid ?? 0), "SIGKILL");
});

/** A process that stands for PID 1: bash runs `script`, and is the parent of what that starts. */
function pid1(script: string): number {
  const child = spawn("bash", ["-c", script], { stdio: "ignore", detached: true });
  running.push(child);
  return child.pid ?? -1;
}

/** When bash has become what it is to be, and has started what it is to start. */
async function settled(pid: number, title: string, child: string): Promise<void> {
  const read = (path: string): string => {
    try {
      return readHead(path, 4096).toString("latin1");
    } catch {
      return "";
    }
  };
  await expect.poll(() => read(`/proc/${pid}/cmdline`).startsWith(title), { timeout: 15_000 }).toBe(true);
  const kids = () => read(`/proc/${pid}/task/${pid}/children`).split(" ").filter(Boolean);
  const childIsThere = () => kids().some((kid) => read(`/proc/${kid}/cmdline`).startsWith(child));
  if (child !== "") await expect.poll(childIsThere, { timeout: 15_000 }).toBe(true);
}

const title = (words: string): string => `exec -a '${words}' sleep 1000`;

describe("sysvinit", () => {
  test.each([
    ["/sbin/init", "", false],
    ["init boot", "", false],
    ["init [2]", "", true],
    ["init [2]", "/sbin/getty", true],
    ["init [2]", "/bin/sh /etc/init.d/rc 2", false],
    ["init [2]", "/sbin/openrc default", false],
    ["init [2]", "init [2]", false],
  ])("that calls itself %j and has the child %j: %s", async (name, child, booted) => {
    const pid = pid1(`${child === "" ? "" : `(${title(child)}) & `}${title(name)}`);
    await settled(pid, name, child);
    expect(isBooted("sysvinit", pid)).toBe(booted);
  });
});

describe("runit", () => {
  test.each([
    ["", false],
    ["/bin/sh /etc/runit/1", false],
    ["/bin/sh /etc/runit/2", true],
    ["runsvdir -P /etc/service", true],
  ])("with the child %j: %s", async (child, booted) => {
    const pid = pid1(`${child === "" ? "" : `(${title(child)}) & `}${title("runit")}`);
    await settled(pid, "runit", child);
    expect(isBooted("runit", pid)).toBe(booted);
  });
});

test("of command lines of any length only the beginnings are read", { timeout: 30_000 }, async () => {
  // 5 MB each: as much as execve(2) takes.
  const long = "ulimit -s unlimited; a=$(printf %0100000d 0); args=(); for i in {1..50}; do args+=($a); done";
  const child = `(exec -a long bash -c "sleep 1000; exit" "\${args[@]}") &`;
  const pid = pid1(`${long}; for i in {1..12}; do ${child} done; exec -a 'init [2]' sleep 1000`);
  await settled(pid, "init [2]", "long");
  const bytesRead = (): number => Number(/^rchar: (\d+)$/m.exec(readFileSync("/proc/self/io", "utf8"))?.[1]);
  const before = bytesRead();
  expect(isBooted("sysvinit", pid)).toBe(true);
  const read = bytesRead() - before;
  expect(read).toBeGreaterThan(1000);
  expect(read).toBeLessThan(100_000);
});

test("openrc-init waits for its fifo to be opened", async () => {
  const directory = mkdtempSync(join(tmpdir(), "fifo-"));
  try {
    execFileSync("mkfifo", [join(directory, "fifo")]);
    const pid = pid1(`exec <${directory}/fifo`);
    await expect.poll(() => isBooted("openrc", pid)).toBe(true);
    expect(isBooted("openrc", pid1(title("/sbin/init")))).toBe(false);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("of others nothing shows, and one that is gone has booted nothing", () => {
  for (const init of ["systemd", "busybox", "other", "stub", null] as const) {
    expect(hasBootEnd(init)).toBe(false);
    expect(isBooted(init, process.pid)).toBe(true);
  }
  expect(hasBootEnd("runit")).toBe(true);
  expect(isBooted("runit", 0x3fffffff)).toBe(false);
});
