/** How foreground machines end, come back, and keep out of each other's way. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { cgroupPath } from "../../src/plan/cgroup.ts";
import { berthRoot, buildBerth, isRunning, poll } from "../lib/berth.ts";
import { testMachine } from "../lib/launch.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();

let tree = "";
let bootable = "";
beforeAll(async () => {
  if (!ready) return;
  buildBerth();
  tree = await probeTree();
  bootable = await probeTree({ init: true });
});

const console = "--console=read-only";

describe("SIGTERM", () => {
  test("asks the init of a machine booted by --boot to stop, and berth ends with its status", async () => {
    await using root = berthRoot();
    await using child = root.start("run", "-D", bootable, "-M", "m", "-b", console, "--", "--term", "--status", "4");
    await child.until(/^up/m);
    await root.recordWhen("m");
    child.kill();
    expect(await child.end).toMatchObject({ status: 4, signal: null });
    expect(child.stdout).toContain("stopping\r\n");
    expect(child.stderr).toBe("berth: stopping machine m (once more: kill it)\n");
  });

  test("shows in the record as stopping; a second one kills", async () => {
    await using root = berthRoot();
    const options = ["-D", bootable, "-M", "m", "-b", console, "--", "--term", "--on-stop", "never"];
    await using child = root.start("run", ...options);
    await child.until(/^up/m);
    await root.recordWhen("m");
    child.kill();
    await child.until(/^stopping/m);
    await root.recordWhen("m", ({ state }) => state === "stopping");
    child.kill();
    const { status, stderr } = await child.end;
    expect(status).toBe(137);
    expect(stderr).toContain("killing machine m: SIGTERM came again");
  });

  test.each(["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] as const)(
    "%s kills a payload that handles none at once",
    async (signal) => {
      await using root = berthRoot();
      await using child = root.start("run", "-D", tree, "-M", "m", "--pipe", "--", ...probe("sleep", "100000"));
      await root.recordWhen("m");
      child.kill(signal);
      const { status, stderr } = await child.end;
      expect(status).toBe(137);
      expect(stderr).toContain(`killing machine m: its PID 1 does not handle ${signal}`);
    },
  );

  test("kills every process of the machine, not its PID 1 alone", async () => {
    await using root = berthRoot();
    await using child = root.start(
      "run",
      "-D",
      tree,
      "-M",
      "m",
      "--pipe",
      "--",
      ...probe("init", "--term", "sleep", "100000"),
    );
    const { cgroup } = await root.recordWhen("m");
    await poll("two processes", () => (processesOf(cgroup).length === 2 ? true : undefined));
    child.kill();
    expect((await child.end).status).toBe(0);
    expect(existsSync(cgroup)).toBe(false);
  });

  test("during the launch ends it", async () => {
    await using root = berthRoot();
    for (const delay of [60, 90, 120]) {
      await using child = root.start("run", "-D", tree, "-M", "m", "--pipe", "--", ...probe("sleep", "100000"));
      await new Promise((resolve) => setTimeout(resolve, delay));
      child.kill("SIGTERM");
      child.kill("SIGTERM");
      const { status, signal, stderr } = await child.end;
      // Before its signal handlers are set it dies of the signal, and nothing was made yet.
      if (signal !== "SIGTERM") expect([143, 137], stderr).toContain(status);
    }
  });

  test.each([
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const)("%s ends a launch that hangs, and leaves nothing of it", async (signal, status) => {
    await using root = berthRoot();
    const { input } = testMachine({ directory: root.path, root: tree });
    const supervisor = join(cgroupPath(input), "supervisor");
    mkdirSync(supervisor, { recursive: true });
    // The keeper clones itself into it, and goes no further.
    writeFileSync(join(supervisor, "cgroup.freeze"), "1");
    await using child = root.start("run", "-D", tree, "-M", "m", "--pipe", "--", ...probe("sleep", "100000"));
    await poll("the keeper", () => (readFileSync(join(supervisor, "cgroup.procs"), "utf8") !== "" ? true : undefined));
    child.kill(signal);
    expect(await child.end).toMatchObject({
      status,
      stderr: expect.stringContaining(`berth: ${signal} ended the start of machine m\n`),
    });
    expect(root.leftovers()).toEqual([]);
    expect(existsSync(supervisor)).toBe(false);
  });

  test("stops a machine whose run directory's disk is full", async () => {
    await using root = berthRoot();
    const run = root.directory("run");
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", run]);
    try {
      await using child = root.start(
        "run",
        "-D",
        tree,
        "-M",
        "m",
        "--kill-signal=SIGTERM",
        console,
        "--",
        ...probe("init", "--term"),
      );
      await child.until(/^up/m);
      await root.recordWhen("m");
      expect(() => writeFileSync(join(run, "filler"), Buffer.alloc(2 << 20))).toThrow("ENOSPC");
      child.kill();
      const { status, stderr } = await child.end;
      expect(status).toBe(0);
      expect(stderr).toContain("the record of machine m is out of date: ENOSPC");
      expect(stderr).not.toContain("    at ");
    } finally {
      execFileSync("umount", [run]);
    }
  });
});

describe("reboot(2)", () => {
  test("starts the machine anew with what it changed, until it is stopped; the layer goes last", async () => {
    await using root = berthRoot();
    const words = ["-x", "-D", bootable, "-M", "m", "-b", console, "--", "--term"];
    await using child = root.start("run", ...words);
    await child.until(/^up/m);
    const first = await root.recordWhen("m");
    expect((await root.berth("exec", "m", "--", ...probe("write", "/kept", "over the reboot"))).status).toBe(0);
    // The kernel ends the whole machine, and with it this command.
    await root.berth("exec", "m", "--", ...probe("reboot", "restart"));
    const second = await root.recordWhen("m", ({ leader }) => leader.pid !== first.leader.pid);
    expect(second.uidShift).toBe(first.uidShift);
    expect(child.stderr).toContain("machine m reboots");
    await child.until(/up[\s\S]*up/);
    expect((await root.berth("exec", "m", "--", ...probe("cat", "/kept"))).stdout).toBe("over the reboot");
    child.kill();
    expect((await child.end).status).toBe(0);
    expect(existsSync(second.layer ?? "/")).toBe(false);
  });

  test("of a machine that was told to stop ends it all the same", async () => {
    await using root = berthRoot();
    const words = ["-D", bootable, "-M", "m", "-b", console, "--", "--term", "--on-stop", "reboot"];
    await using child = root.start("run", ...words);
    await child.until(/^up/m);
    await root.recordWhen("m");
    child.kill();
    expect((await child.end).status).toBe(0);
    expect(child.stdout.match(/up/g)).toHaveLength(1);
  });

  test("poweroff by the machine itself ends the run with 0", async () => {
    await using root = berthRoot();
    await using child = root.start("run", "-D", bootable, "-M", "m", "-b", console);
    await child.until(/^up/m);
    await root.recordWhen("m");
    await root.berth("exec", "m", "--", ...probe("reboot", "poweroff"));
    expect((await child.end).status).toBe(0);
  });
});

describe("from outside", () => {
  test("poweroff asks the init and waits until all of the machine is gone", async () => {
    await using root = berthRoot();
    await using child = root.start("run", "-D", bootable, "-M", "m", "-b", console, "--", "--term");
    await child.until(/^up/m);
    await root.recordWhen("m");
    expect(await root.berth("poweroff", "m")).toMatchObject({ status: 0, stdout: "", stderr: "" });
    expect(root.leftovers()).toEqual([]);
    expect((await child.end).status).toBe(0);
    expect(child.stdout).toContain("stopping");
  });

  test("a PID 1 that can't be asked is named at once instead of waited for; terminate kills it", async () => {
    await using root = berthRoot();
    await using child = root.start("run", "-D", tree, "-M", "m", "--pipe", "--", ...probe("sleep", "100000"));
    await root.recordWhen("m");
    for (const verb of ["poweroff", "reboot"]) {
      const { status, stderr } = await root.berth(verb, "m");
      expect(status, verb).toBe(1);
      expect(stderr, verb).toMatch(
        /^berth: machine m can't be asked: its PID 1 does not handle SIG\w+\nhint: berth terminate m kills it/,
      );
    }
    expect((await root.berth("terminate", "m")).status).toBe(0);
    expect((await child.end).status).toBe(137);
    expect(root.leftovers()).toEqual([]);
  });
});

describe("kill -9 of berth", () => {
  test("ends the machine, and the next run of its name works at once and clears up", async () => {
    await using root = berthRoot();
    const own = await probeTree({ at: join(root.machines, "own") });
    const words = ["-D", own, "-M", "m", "--pipe", "--bind-ro=/etc:/new/mount/point"];
    await using child = root.start("run", ...words, "--", ...probe("init", "sleep", "100000"));
    const { cgroup, keeper, uidShift } = await root.recordWhen("m");
    await poll("two processes", () => (processesOf(cgroup).length === 2 ? true : undefined));
    const tasks = [...processesOf(cgroup), keeper.pid];
    child.kill("SIGKILL");
    await child.end;
    await poll("the end of the machine", () => (tasks.some(isRunning) ? undefined : true));
    expect(existsSync(join(own, "new"))).toBe(false);
    const next = await root.run(own, ["-M", "m"], probe("cat", "/proc/self/uid_map"));
    expect(next.stdout).toMatch(new RegExp(`^\\s+0\\s+${uidShift}\\s`));
    expect(existsSync(cgroup)).toBe(false);
  });

  test("of an ephemeral machine: a run of another name removes the layer", async () => {
    await using root = berthRoot();
    const own = await probeTree({ at: join(root.machines, "own") });
    await using child = root.start(
      "run",
      "-x",
      "-D",
      own,
      "-M",
      "m",
      "--pipe",
      "--",
      ...probe("write", "/x", "x", "--", "init"),
    );
    await child.until(/up/);
    const { layer, keeper } = await root.recordWhen("m");
    expect(existsSync(join(layer ?? "", "data/x"))).toBe(true);
    child.kill("SIGKILL");
    await child.end;
    await poll("the end of the machine", () => (isRunning(keeper.pid) ? undefined : true));
    expect(existsSync(join(layer ?? "", "data/x"))).toBe(true);
    await root.run(own, ["-M", "other"], probe("cwd"));
    expect(existsSync(layer ?? "/")).toBe(false);
  });
});

describe("one name", () => {
  test("can run once: a second start is refused as busy and leaves the first alone", async () => {
    await using root = berthRoot();
    await using child = root.start("run", "-D", tree, "-M", "m", "--pipe", "--", ...probe("init", "--term"));
    await child.until(/^up$/m);
    const second = await root.run(tree, ["-M", "m"], probe("cwd"));
    expect(second).toMatchObject({ status: 125, stdout: "" });
    expect(second.stderr).toMatch(
      /^berth: starting m failed at .*machine m is running already, or another command is starting it\nhint: .*\n$/,
    );
    expect((await root.berth("exec", "m", "--", ...probe("exit", "3"))).status).toBe(3);
    child.kill();
    expect((await child.end).status).toBe(0);
  });

  test("started eight times at once runs exactly once", async () => {
    await using root = berthRoot();
    const starts = Array.from({ length: 8 }, () =>
      root.start("run", "-D", tree, "-M", "m", "--pipe", "--", ...probe("init", "--term")),
    );
    let refused = 0;
    for (const each of starts)
      each.end.then(
        ({ status, stderr }) => {
          if (status === 125 && stderr.includes("running already")) refused++;
        },
        () => undefined,
      );
    await poll("seven refusals", () => (refused === 7 ? true : undefined));
    const { supervisor } = await root.recordWhen("m");
    const winner = starts.find(({ pid }) => pid === supervisor.pid);
    await winner?.until(/^up$/m);
    expect(winner?.stdout).toBe("up\n");
    winner?.kill();
    const statuses = await Promise.all(starts.map(async ({ end }) => (await end).status));
    expect(statuses.sort()).toEqual([0, ...Array.from({ length: 7 }, () => 125)]);
  });

  test.each(["../evil", "a/b", "", "a..b", "-x", "x".repeat(65), "a\nb"])("%j is none", async (name) => {
    await using root = berthRoot();
    const { status, stdout, stderr } = await root.run(tree, [`--machine=${name}`], probe("cwd"));
    expect([2, 125]).toContain(status);
    expect(stdout).toBe("");
    expect(stderr).not.toContain("    at ");
    expect(existsSync(join(root.path, "evil"))).toBe(false);
  });
});

function processesOf(cgroup: string): number[] {
  return readFileSync(join(cgroup, "payload/cgroup.procs"), "utf8").split("\n").filter(Boolean).map(Number);
}
