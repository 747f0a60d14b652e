/** berthd whose directory is on a disk that is full: its machines end when they are told to, and it goes on. */
import { execFileSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { type BerthRoot, berthRoot, buildBerth, poll } from "../lib/berth.ts";
import { berthd } from "../lib/daemon.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";
import { ENDLESS, shellMachine } from "../lib/shell-machine.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

/** Of half a megabyte, in place of the root's run directory. */
function smallDisk(root: BerthRoot): Disposable & { fill(): void; empty(): void } {
  const path = join(root.path, "run");
  mkdirSync(path);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=512k", "tmpfs", path]);
  const filler = join(path, "filler");
  return {
    fill() {
      try {
        for (let size = 65_536; ; ) appendFileSync(filler, Buffer.alloc(size));
      } catch {
        // Pages are what it counts.
      }
    },
    empty: () => rmSync(filler, { force: true }),
    [Symbol.dispose]: () => execFileSync("umount", ["--lazy", path]),
  };
}

test("machines are seen, used, and stopped; starts say that there is no room, until there is", async () => {
  await using root = berthRoot();
  using disk = smallDisk(root);
  await shellMachine(root, "m", `(while :; do echo tick; sleep 0.01; done) & ${ENDLESS}`);
  await shellMachine(root, "n");
  await using daemon = await berthd(root);
  expect((await root.berth("start", "m", "n")).status).toBe(0);
  disk.fill();
  const list = async (): Promise<unknown> => JSON.parse((await root.berth("list", "--json")).stdout);
  expect(await list()).toMatchObject([
    { name: "m", state: "running" },
    { name: "n", state: "running" },
  ]);
  expect((await root.berth("exec", "m", "--", "echo", "on")).stdout).toBe("on\n");
  expect(await root.berth("poweroff", "n")).toMatchObject({ status: 0, stderr: "" });
  disk.fill();
  const start = await root.berth("start", "n");
  expect(start).toMatchObject({ status: 1, stderr: expect.stringMatching(/ENOSPC|no space/i) });
  expect(await root.berth("poweroff", "m")).toMatchObject({ status: 0, stderr: "" });
  expect(root.leftovers()).toEqual([]);
  disk.empty();
  expect(await root.berth("start", "n")).toMatchObject({ status: 0, stderr: "" });
  expect((await root.berth("terminate", "n")).status).toBe(0);
  daemon.kill();
  expect((await daemon.end).status).toBe(0);
  expect(daemon.stderr).not.toContain("internal error");
});

test("the daemon ends and starts on it, takes its machines over, and sees them to their ends", async () => {
  await using root = berthRoot();
  using disk = smallDisk(root);
  await shellMachine(root, "m", "trap 'exit 3' TERM; while :; do sleep 1000 & wait $!; done");
  expect((await root.berth("start", "m")).status).toBe(0);
  disk.fill();
  expect((await root.berth("daemon", "stop")).status).toBe(0);
  disk.fill();
  await using daemon = await berthd(root);
  const list = async (): Promise<unknown> => JSON.parse((await root.berth("list", "--json")).stdout);
  expect(await list()).toMatchObject([{ name: "m", state: "running", managed: true }]);
  // It fails, and there is no room to write that down.
  process.kill(root.record("m")?.leader.pid ?? 0, "SIGTERM");
  await poll("its end", () => (existsSync(join(root.path, "run/running/m")) ? undefined : true));
  expect(await list()).toMatchObject([{ name: "m", state: "failed", reason: "its PID 1 exited with status 3" }]);
  daemon.kill();
  expect((await daemon.end).status).toBe(0);
  disk.empty();
});

test("what it logs into is full: it goes on", async () => {
  await using root = berthRoot();
  using disk = smallDisk(root);
  await shellMachine(root, "m");
  expect((await root.berth("daemon", "start")).status).toBe(0);
  disk.fill();
  for (let round = 0; round < 30; round++) expect((await root.berth("reboot", "nobody")).status).toBe(1);
  disk.empty();
  expect((await root.berth("start", "m")).status).toBe(0);
  expect((await root.berth("terminate", "m")).status).toBe(0);
  expect((await root.berth("daemon", "stop")).status).toBe(0);
});
