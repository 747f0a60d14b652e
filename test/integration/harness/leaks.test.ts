import { execFileSync, spawn } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { checkLeaks, expectNoLeaks, leakCheck, leaksSince, snapshot } from "../../lib/leaks.ts";
import { enterOwnNetwork } from "../../lib/own-network.ts";
import { cgroup2Mount, needs } from "../../lib/requires.ts";

const ready = needs("root", "cgroup2", "tool:ip", "tool:mount", "tool:unshare");
beforeAll(() => {
  if (ready) enterOwnNetwork();
});

/** Undone in reverse after each test, whatever came of it. */
const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

const run = (command: string, ...args: string[]) => execFileSync(command, args, { stdio: ["ignore", "pipe", "pipe"] });

function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), "leak-"));
  undo.push(() => rmSync(directory, { recursive: true }));
  return directory;
}

/** Kills by pid and waits until the kernel has no trace of it. */
function killLater(pid: number): void {
  undo.push(async () => {
    process.kill(pid, "SIGKILL");
    for (let i = 0; i < 100 && !/^\d+ \(.*\) Z|^$/.test(statOf(pid)); i++) await sleep(20);
  });
}

function statOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return "";
  }
}

/** A shell that prints a pid and ends: what it started has lost its parent. */
function orphan(script: string): number {
  const pid = Number(run("sh", "-c", script).toString().trim());
  killLater(pid);
  return pid;
}

describe("each kind of leak is seen and named", () => {
  test("nothing done, nothing found", () => {
    const before = snapshot();
    run("true");
    expect(leaksSince(before)).toEqual([]);
  });

  test("mount, also a second one on the same place", () => {
    const directory = scratch();
    const mount = () => {
      run("mount", "-t", "tmpfs", "berth-leak", directory);
      undo.push(() => run("umount", directory));
    };
    const before = snapshot();
    mount();
    mount();
    const found = leaksSince(before).filter((line) => line.startsWith("left: mount "));
    expect(found).toHaveLength(2);
    expect(found[0]).toContain(`${directory} rw`);
  });

  test("mount that is gone", () => {
    const directory = scratch();
    run("mount", "-t", "tmpfs", "berth-leak", directory);
    const before = snapshot();
    run("umount", directory);
    expect(leaksSince(before)).toEqual([expect.stringMatching(`^gone: mount .* ${directory} rw`)]);
  });

  test("cgroup, below another one", () => {
    const before = snapshot();
    const parent = join(cgroup2Mount() ?? "", "berth-leak");
    for (const path of [parent, join(parent, "payload")]) {
      mkdirSync(path);
      undo.push(() => rmdirSync(path));
    }
    expect(leaksSince(before)).toEqual([`left: cgroup ${parent}`, `left: cgroup ${parent}/payload`]);
  });

  test("network links", () => {
    const before = snapshot();
    run("ip", "link", "add", "bleak0", "type", "veth", "peer", "name", "bleak1");
    undo.push(() => run("ip", "link", "del", "bleak0"));
    expect(leaksSince(before).sort()).toEqual(["left: network link bleak0", "left: network link bleak1"]);
  });

  test("named network namespace", () => {
    const before = snapshot();
    run("ip", "netns", "add", "berth-leak");
    undo.push(() => run("ip", "netns", "del", "berth-leak"));
    expect(leaksSince(before)).toContain("left: named network namespace berth-leak");
  });

  test("fd", () => {
    const before = snapshot();
    const fd = openSync("/etc/hostname", "r");
    undo.push(() => closeSync(fd));
    expect(leaksSince(before)).toEqual([`left: fd ${fd} -> /etc/hostname`]);
  });

  test("abstract unix socket", async () => {
    const before = snapshot();
    const server = createServer();
    await new Promise<void>((listening) => server.listen("\0berth-leak", listening));
    undo.push(() => new Promise((closed) => server.close(closed)));
    expect(leaksSince(before)).toContainEqual(expect.stringMatching(/^left: unix socket @berth-leak /));
  });

  test("file in the temporary directory, file below a watched one", () => {
    const watched = scratch();
    const before = snapshot({ directories: [watched] });
    const file = join(tmpdir(), "left-behind");
    writeFileSync(file, "");
    undo.push(() => rmSync(file));
    mkdirSync(join(watched, "records"));
    writeFileSync(join(watched, "records/web.json"), "");
    expect(leaksSince(before)).toEqual([
      `left: file ${file}`,
      `left: file ${watched}/records`,
      `left: file ${watched}/records/web.json`,
    ]);
  });

  test("child process", () => {
    const before = snapshot();
    const child = spawn("sleep", ["1000"], { stdio: "ignore" });
    undo.push(() => new Promise((gone) => child.once("exit", gone).kill("SIGKILL")));
    expect(leaksSince(before)).toEqual([expect.stringMatching(`^left: process ${child.pid} .*${process.pid}`)]);
  });

  test("orphan with our environment", async () => {
    const before = snapshot();
    const pid = orphan("setsid sleep 1000 >/dev/null 2>&1 & echo $!");
    await expect.poll(() => leaksSince(before)).toContainEqual(expect.stringMatching(`^left: process ${pid} sleep`));
  });

  test("orphaned machine: another pid namespace, an environment of its own", async () => {
    const before = snapshot();
    // unshare is the parent outside, sleep the PID 1 inside; its death takes the namespace with it.
    orphan("env -i unshare --pid --fork --kill-child sleep 1000 >/dev/null 2>&1 & echo $!");
    await expect.poll(() => leaksSince(before)).toContainEqual(expect.stringMatching(/^left: process \d+ sleep/));
  });
});

describe("the check around a test", () => {
  test("throws for what stays", async () => {
    const directory = scratch();
    const attempt = async () => {
      await using _check = await leakCheck({ directories: [directory], grace: 100 });
      writeFileSync(join(directory, "stays"), "");
    };
    await expect(attempt()).rejects.toThrow(`the test changed the host:\n  left: file ${directory}/stays`);
  });

  test("waits for what goes away by itself", async () => {
    const directory = scratch();
    const file = join(directory, "goes");
    const before = snapshot({ directories: [directory] });
    writeFileSync(file, "");
    const removal = sleep(200).then(() => rmSync(file));
    await expectNoLeaks(before);
    await removal;
    expect(leaksSince(before)).toEqual([]);
  });
});

describe("checkLeaks() as a hook", () => {
  checkLeaks();

  test("lets a clean test pass, with what its own hooks and onTestFinished undo", ({ onTestFinished }) => {
    const fd = openSync("/etc/hostname", "r");
    onTestFinished(() => closeSync(fd));
    const other = openSync("/etc/hostname", "r");
    undo.push(() => closeSync(other));
    expect(other).toBeGreaterThan(fd);
  });
});
