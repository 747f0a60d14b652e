/** Debian's other inits, as they come: to their ready state, through a reboot, and to a clean end. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { initTree, type TreeKind } from "../lib/inits.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "tool:mmdebstrap");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

interface Expected {
  readonly init: string;
  /** Of `berth status`. */
  readonly state: string;
  /** Runs only in a machine that is ready. */
  readonly running: RegExp;
  /** The last words of a clean end. */
  readonly farewell: RegExp;
}

const EXPECTED: Readonly<Record<Exclude<TreeKind, "busybox">, Expected>> = {
  sysvinit: { init: "sysvinit", state: "runlevel 2", running: /^init \[2\]/m, farewell: /Will now halt/ },
  openrc: {
    init: "sysvinit",
    state: "runlevel 2",
    running: /^init \[2\]/m,
    farewell: /Will now halt/,
  },
  "openrc-init": {
    ...{ init: "openrc", state: "runlevel default", running: /^\/sbin\/init/m },
    farewell: /Sending the final kill signal/,
  },
  runit: { init: "runit", state: "runlevel 2", running: /^runsvdir/m, farewell: /runit: power off/ },
};

async function inside(root: BerthRoot, ...words: string[]): Promise<string> {
  const { status, stdout, stderr } = await root.berth("exec", "m", "--", ...words);
  expect([status, stderr]).toEqual([0, ""]);
  return stdout;
}

describe.each(Object.entries(EXPECTED))("%s", (kind, { init, state, running, farewell }) => {
  test.each(["pick", "no"])(
    "boots in the background, reboots and powers off from outside; PrivateUsers=%s",
    async (users) => {
      await using root = berthRoot();
      // A machine in the background outlives a test that fails.
      await using _ = { [Symbol.asyncDispose]: async () => void (await root.berth("terminate", "m")) };
      await initTree(kind as TreeKind, join(root.machines, "m"));
      root.settings("m", `[Exec]\nPrivateUsers=${users}`);
      expect(await root.berth("start", "m")).toMatchObject({ status: 0 });
      const first = root.record("m");
      expect(first).toMatchObject({ init, ready: true, state: "running" });
      expect((await root.berth("status", "m")).stdout).toMatch(new RegExp(`^ {2}Init +${init}, ${state}, PID`, "m"));
      expect(await inside(root, "ps", "-eo", "args=")).toMatch(running);

      expect(await root.berth("reboot", "m")).toMatchObject({ status: 0, stderr: "" });
      const second = await root.recordWhen("m", (now) => now.ready && now.leader.startTime !== first?.leader.startTime);
      expect(second.supervisor).toEqual(first?.supervisor);
      expect(await inside(root, "ps", "-eo", "args=")).toMatch(running);

      // OpenRC may take longer than the 3 s after which that is said.
      const { status, stderr } = await root.berth("poweroff", "m");
      expect([status, stderr.replace(/^berth: machine m is still shutting down, .*\n/, "")]).toEqual([0, ""]);
      expect(root.leftovers()).toEqual([]);
    },
  );

  test("is stopped in the foreground by SIGTERM, ready or not, and comes to its own end", async () => {
    await using root = berthRoot();
    const tree = await initTree(kind as TreeKind, join(root.machines, "m"));
    for (const isReady of [true, false]) {
      await using child = root.start("run", "-D", tree, "-b", "--console=read-only");
      await root.recordWhen("m", ({ ready }) => ready || !isReady);
      child.kill();
      const { status, stdout, stderr } = await child.end;
      expect(status, stderr).toBe(0);
      expect(stdout).toMatch(farewell);
      expect(stderr).not.toContain("killing");
    }
  });

  test("powers itself off and reboots when told so inside", async () => {
    await using root = berthRoot();
    const tree = await initTree(kind as TreeKind, join(root.machines, "m"));
    await using child = root.start("run", "-D", tree, "-b", "--console=read-only");
    const first = await root.recordWhen("m", ({ ready }) => ready);
    const [reboot, poweroff] =
      kind === "openrc-init"
        ? [
            ["openrc-shutdown", "--reboot", "now"],
            ["openrc-shutdown", "--poweroff", "now"],
          ]
        : [
            ["init", "6"],
            ["init", "0"],
          ];
    await root.berth("exec", "m", "--", ...reboot);
    await root.recordWhen("m", (now) => now.ready && now.leader.startTime !== first.leader.startTime);
    await root.berth("exec", "m", "--", ...poweroff);
    expect((await child.end).status).toBe(0);
  });
});

test("SIGTERM: a machine that is deaf to it is killed after 90 s, and that is said", async () => {
  await using root = berthRoot();
  const tree = await initTree("busybox", join(root.machines, "m"));
  rmSync(join(tree, "sbin/init"));
  const script = "#!/bin/sh\ntrap 'echo no' TERM\necho up\nwhile :; do busybox sleep 1; done\n";
  writeFileSync(join(tree, "sbin/init"), script, { mode: 0o755 });
  await using child = root.start("run", "-D", tree, "-b", "--console=read-only");
  await child.until(/^up/m);
  await root.recordWhen("m");
  const began = performance.now();
  child.kill();
  const { status, stdout, stderr } = await child.end;
  expect([status, Math.round((performance.now() - began) / 10_000)]).toEqual([137, 9]);
  expect(stdout).toContain("no");
  expect(stderr).toContain("berth: killing machine m: it did not stop within 90 s\n");
});
