/** [Machine]: when berthd starts a machine again, for how long it waits, and that it never does what nobody wants. */
import { appendFileSync, existsSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import type { MachineRecord } from "../../src/machine/record.ts";
import type { MachineView } from "../../src/manager/machine-view.ts";
import { type BerthRoot, berthRoot, buildBerth, type End, isRunning } from "../lib/berth.ts";
import { killDaemon } from "../lib/daemon.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

/** One whose init is the probe, which stops on this signal. */
async function makeMachine(root: BerthRoot, settings: string): Promise<void> {
  await probeTree({ at: join(root.machines, "m"), init: true });
  root.settings("m", `[Exec]\nKillSignal=SIGRTMIN+3\n${settings}`);
}

/** One whose init is a script, which has the host's programs, and says in /boots of the tree that it was started. */
async function makeScript(root: BerthRoot, script: string, settings: string): Promise<{ boots(): number }> {
  const tree = await probeTree({ at: join(root.machines, "m") });
  for (const name of ["bin", "lib", "lib64"]) symlinkSync(`usr/${name}`, join(tree, name));
  writeFileSync(join(tree, "sbin/init"), `#!/bin/sh\necho boot >> /boots\n${script}\n`, { mode: 0o755 });
  root.settings("m", `[Files]\nBindReadOnly=/usr\n${settings}`);
  return { boots: () => readFileSync(join(tree, "boots"), "utf8").split("\n").length - 1 };
}

async function start(root: BerthRoot): Promise<MachineRecord> {
  expect(await root.berth("start", "m")).toMatchObject({ status: 0 });
  return root.recordWhen("m", ({ ready: isReady }) => isReady);
}

async function views(root: BerthRoot): Promise<readonly MachineView[]> {
  return JSON.parse((await root.berth("list", "--json")).stdout);
}

async function until(
  root: BerthRoot,
  is: (view: MachineView | undefined) => boolean,
): Promise<MachineView | undefined> {
  for (const deadline = performance.now() + 15_000; ; await sleep(20)) {
    const [view] = await views(root);
    if (is(view)) return view;
    if (performance.now() > deadline) throw new Error(`never so: ${JSON.stringify(view)}`);
  }
}

/** By nobody's command. */
async function killInit(root: BerthRoot, { leader }: MachineRecord): Promise<void> {
  process.kill(leader.pid, "SIGKILL");
  await until(root, (view) => view?.leader !== leader.pid);
}

/** When the daemon's list has it as well. */
async function nextBoot(root: BerthRoot, before: MachineRecord): Promise<MachineRecord> {
  const boot = await root.recordWhen("m", (record) => record.leader.pid !== before.leader.pid && record.ready);
  await until(root, (view) => view?.leader === boot.leader.pid && view.state === "running");
  return boot;
}

/** For a while, in which a restart would long have come. */
async function staysStopped(root: BerthRoot): Promise<void> {
  await until(root, (view) => view === undefined);
  await sleep(400);
  expect(await views(root)).toEqual([]);
}

async function timed(work: Promise<End>): Promise<End & { readonly ms: number }> {
  const began = performance.now();
  return { ...(await work), ms: performance.now() - began };
}

describe("Restart=", () => {
  test("Restart=on-failure: what is killed is started again, and list says so; what is stopped by command stays so", async () => {
    await using root = berthRoot();
    await makeMachine(root, "[Machine]\nRestart=on-failure");
    let boot = await start(root);
    for (const times of [1, 2]) {
      await killInit(root, boot);
      boot = await nextBoot(root, boot);
      expect(await views(root)).toMatchObject([{ state: "running", restarts: times }]);
    }
    expect((await root.berth("list")).stdout).toMatch(/ started again 2 times$/m);
    // Also when the next daemon is asked.
    await killDaemon(root);
    await root.berth("daemon", "start");
    expect(await views(root)).toMatchObject([{ state: "running", restarts: 2, leader: boot.leader.pid }]);
    expect(await root.berth("poweroff", "m")).toMatchObject({ status: 0, stderr: "" });
    await staysStopped(root);
  });

  test("Restart=on-failure: what powers itself off stays so", async () => {
    await using root = berthRoot();
    await makeMachine(root, "[Exec]\nParameters=--on-stop poweroff\n[Machine]\nRestart=on-failure");
    await start(root);
    await root.berth("kill", "m", "--kill-whom=leader", "--signal=SIGRTMIN+3");
    await staysStopped(root);
  });

  test("Restart=always: that, too, is started again, but not what a command stops", async () => {
    await using root = berthRoot();
    await makeMachine(root, "[Exec]\nParameters=--on-stop poweroff\n[Machine]\nRestart=always\nRestartSec=20ms");
    const first = await start(root);
    await root.berth("kill", "m", "--kill-whom=leader", "--signal=SIGRTMIN+3");
    const second = await nextBoot(root, first);
    await killInit(root, second);
    await nextBoot(root, second);
    expect(await root.berth("poweroff", "m")).toMatchObject({ status: 0, stderr: "" });
    await staysStopped(root);
    await start(root);
    expect(await root.berth("terminate", "m")).toMatchObject({ status: 0, stderr: "" });
    await staysStopped(root);
  });

  test("Restart=no: it has failed, and list says why", async () => {
    await using root = berthRoot();
    await makeMachine(root, "");
    await killInit(root, await start(root));
    await until(root, (view) => view?.state === "failed");
    expect((await root.berth("list")).stdout).toMatch(/ failed .* its PID 1 was killed by SIGKILL$/m);
  });

  test("Restart=always in a file that came with an image does not count", async () => {
    await using root = berthRoot();
    await makeMachine(root, "");
    writeFileSync(join(root.machines, "m.nspawn"), "[Machine]\nRestart=always\nRestartSec=0\n");
    rmSync(join(root.path, "etc/machines/m.nspawn"));
    const { stderr } = await root.berth("start", "m");
    expect(stderr).toMatch(/m\.nspawn:2:9: warning: Restart= is ignored/);
    await killInit(root, await root.recordWhen("m"));
    await until(root, (view) => view?.state === "failed");
  });
});

describe("the wait", () => {
  test.each(["terminate", "poweroff"])(
    "RestartSec=: it is shown as starting, and why; %s ends it at once",
    async (verb) => {
      await using root = berthRoot();
      await makeMachine(root, "[Machine]\nRestart=on-failure\nRestartSec=1h");
      await killInit(root, await start(root));
      const reason = "its PID 1 was killed by SIGKILL";
      expect(await views(root)).toMatchObject([
        { state: "starting", status: "waits to be started again", reason, leader: null, restarts: 0 },
      ]);
      expect((await root.berth("list")).stdout).toMatch(
        / starting .* its PID 1 was killed by SIGKILL; is started again in \d+ s$/m,
      );
      const told = await root.berth("status", "m");
      expect(told.status).toBe(0);
      expect(told.stdout).toMatch(
        /State +starting, is started again in \d+ s\n +Reason +its PID 1 was killed by SIGKILL\n/,
      );
      const why = await root.berth("why", "m");
      expect(why.stdout).toMatch(/^m is started again in \d+ s: its PID 1 was killed by SIGKILL\.\n/);
      const resumed = await root.berth("resume", "m");
      expect(resumed.stderr).toMatch(/^berth: machine m is started again in \d+ s: .*\nhint: berth wait m /);
      const again = await root.berth("start", "m");
      expect(again.stderr).toMatch(/^berth: machine m is started again in \d+ s: .*\nhint: berth terminate m /);
      const end = await timed(root.berth(verb, "m"));
      expect(end).toMatchObject({ status: 0, stderr: "" });
      expect(end.ms).toBeLessThan(30_000);
      await staysStopped(root);
    },
  );

  test.each(["no", "yes"])(
    "RestartSec=, Ephemeral=%s: a daemon that is killed meanwhile starts it when it is back",
    async (ephemeral) => {
      await using root = berthRoot();
      await makeMachine(root, `[Exec]\nEphemeral=${ephemeral}\n[Machine]\nRestart=on-failure\nRestartSec=1h`);
      const first = await start(root);
      await killInit(root, first);
      await killDaemon(root);
      await root.berth("daemon", "start");
      await nextBoot(root, first);
      expect(await views(root)).toMatchObject([{ state: "running", restarts: 1 }]);
      expect((await root.berth("terminate", "m")).status).toBe(0);
      await staysStopped(root);
    },
  );

  test("RestartSec=: a daemon that is stopped meanwhile leaves it to the next one", async () => {
    await using root = berthRoot();
    await makeMachine(root, "[Machine]\nRestart=on-failure\nRestartSec=1h");
    const first = await start(root);
    await killInit(root, first);
    const stopped = await timed(root.berth("daemon", "stop"));
    expect(stopped.status).toBe(0);
    expect(stopped.ms).toBeLessThan(30_000);
    expect(root.record("m")).toBeNull();
    await root.berth("daemon", "start");
    await nextBoot(root, first);
    expect((await root.berth("terminate", "m")).status).toBe(0);
  });
});

describe("a daemon that is killed", () => {
  const SETTINGS = "[Exec]\nParameters=--on-stop never\n[Machine]\nRestart=always\nRestartSec=20ms";

  /** It dies while there is no daemon. */
  async function dieAlone(root: BerthRoot, { leader }: MachineRecord): Promise<void> {
    await killDaemon(root);
    process.kill(leader.pid, "SIGKILL");
    while (isRunning(leader.pid)) await sleep(5);
  }

  test("Restart=always: it is started again if it ends while there is none", async () => {
    await using root = berthRoot();
    await makeMachine(root, SETTINGS);
    const first = await start(root);
    await dieAlone(root, first);
    await root.berth("daemon", "start");
    await nextBoot(root, first);
    expect((await root.berth("terminate", "m")).status).toBe(0);
  });

  test("Restart=always: that nobody starts it again meanwhile is said, and who waits for it starts a daemon", async () => {
    await using root = berthRoot();
    await makeMachine(root, SETTINGS);
    const first = await start(root);
    await dieAlone(root, first);
    const reason = "its PID 1 was killed by SIGKILL; berthd boots it again when it runs";
    const listed = await root.berth("list", "--json");
    expect(listed.stderr).toMatch(
      /^berth: berthd does not run: nobody looks after its machines\nhint: berth daemon start\n/,
    );
    expect(JSON.parse(listed.stdout)).toMatchObject([{ name: "m", state: "stopped", managed: true, reason }]);
    const why = await root.berth("why", "m");
    expect(why.stdout).toMatch(`m does not run: ${reason} (berth daemon start).`);
    expect(await root.berth("wait", "m", "--timeout=60")).toMatchObject({ status: 0 });
    const second = await nextBoot(root, first);
    // One that ends now is to boot again, too, and terminate keeps it from that.
    await dieAlone(root, second);
    expect(await root.berth("terminate", "m")).toMatchObject({ status: 0 });
    await staysStopped(root);
  });

  test("Restart=no: wait knows that it has failed", async () => {
    await using root = berthRoot();
    await makeMachine(root, "");
    const { leader } = await start(root);
    await killDaemon(root);
    process.kill(leader.pid, "SIGKILL");
    expect(await root.berth("wait", "m", "failed", "--timeout=60")).toMatchObject({ status: 0 });
    expect(await views(root)).toMatchObject([{ state: "failed", reason: "its PID 1 was killed by SIGKILL" }]);
  });

  test.each(["before", "after"])(
    "Restart=always: what was told to end, and does %s the next one comes, stays so",
    async (when) => {
      await using root = berthRoot();
      await makeMachine(root, SETTINGS);
      const { leader } = await start(root);
      expect(await root.berth("poweroff", "--no-wait", "m")).toMatchObject({ status: 0 });
      await killDaemon(root);
      if (when === "after") await root.berth("daemon", "start");
      process.kill(leader.pid, "SIGKILL");
      while (isRunning(leader.pid)) await sleep(5);
      if (when === "before") await root.berth("daemon", "start");
      await staysStopped(root);
      expect(existsSync(join(root.path, "run/state/m.json"))).toBe(false);
    },
  );
});

test("StartLimitBurst=, StartLimitIntervalSec=: then it has failed, with the reason and its last words; start counts anew", async () => {
  await using root = berthRoot();
  const settings =
    "[Exec]\nNotifyReady=yes\n[Machine]\nRestart=on-failure\nRestartSec=10ms\nStartLimitBurst=3\nStartLimitIntervalSec=1min";
  const script = await makeScript(root, "echo last words\nexit 3", settings);
  const reason = "its PID 1 exited with status 3; not started again after 3 starts within 60 s";
  for (const boots of [3, 6]) {
    const { status, stderr } = await root.berth("start", "m");
    expect(status).toBe(1);
    expect(stderr).toContain(`berth: machine m: ${reason}\n`);
    expect(stderr).toMatch(/^berth: console: last words/m);
    expect(script.boots()).toBe(boots);
    expect(await views(root)).toMatchObject([{ state: "failed", reason, restarts: 2 }]);
    const told = await root.berth("status", "m");
    expect(told.status).toBe(3);
    expect(told.stdout).toMatch(
      /State +failed\n +Failure +its PID 1 exited.*\n(.*\n)* +Again +started again 2 times .*\n(.*\n)* +Console +last words\n/,
    );
  }
  // The next daemon knows as well.
  await killDaemon(root);
  await root.berth("daemon", "start");
  expect(await views(root)).toMatchObject([{ state: "failed", reason }]);
  expect(script.boots()).toBe(6);
});

describe("TimeoutStartSec=", () => {
  const NEVER = "[Exec]\nNotifyReady=yes\n[Machine]\n";

  test("TimeoutStartSec=: an init that never is ready is killed, and --timeout of start is stronger", async () => {
    await using root = berthRoot();
    await makeScript(root, "exec /probe init", `${NEVER}TimeoutStartSec=500ms`);
    const end = await timed(root.berth("start", "m"));
    expect(end.status).toBe(1);
    expect(end.stderr).toMatch(/^berth: machine m was not ready within 0\.5 s$/m);
    expect(await views(root)).toMatchObject([{ state: "failed", reason: "was not ready within 0.5 s", leader: null }]);
    const why = (await root.berth("why", "m")).stdout;
    expect(why).toContain("berthd killed it for that.\n");
    expect(why).not.toContain("SIGKILL comes from");
    expect(why).toMatch(/^ {2}\S+\/m\.nspawn:\d+: TimeoutStartSec=500ms$/m);
    expect(why).toMatch(/^hint: TimeoutStartSec= /m);
    appendFileSync(join(root.path, "etc/machines/m.nspawn"), "TimeoutStartSec=infinity\n");
    const typed = await root.berth("start", "m", "--timeout=0.3");
    expect(typed.stderr).toMatch(/^berth: machine m was not ready within 0\.3 s$/m);
  });

  test("TimeoutStartSec=infinity: start waits on", async () => {
    await using root = berthRoot();
    await makeScript(root, "sleep 1\nexec /probe init --ready", `${NEVER}TimeoutStartSec=0`);
    expect(await root.berth("start", "m")).toMatchObject({ status: 0 });
    expect((await root.berth("terminate", "m")).status).toBe(0);
  });

  test("TimeoutStartSec=: a restart that never is ready is a failure as any other", async () => {
    await using root = berthRoot();
    const script = await makeScript(
      root,
      "[ $(wc -l < /boots) -gt 1 ] || exec /probe init --ready\nexec /probe init",
      `${NEVER}TimeoutStartSec=3s\nRestart=on-failure\nRestartSec=10ms\nStartLimitBurst=3\nStartLimitIntervalSec=1min`,
    );
    await killInit(root, await start(root));
    await until(root, (view) => view?.state === "failed");
    expect(await views(root)).toMatchObject([
      { reason: "was not ready within 3 s; not started again after 3 starts within 60 s" },
    ]);
    expect(script.boots()).toBe(3);
  });
});

test("TimeoutStopSec=: an init that ignores the request is killed, and --timeout of poweroff is stronger", async () => {
  await using root = berthRoot();
  await makeMachine(root, "[Exec]\nParameters=--on-stop never\n[Machine]\nTimeoutStopSec=500ms");
  const { leader } = await start(root);
  const end = await timed(root.berth("poweroff", "m"));
  expect(end).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/^berth: machine m did not end within 0\.5 s, and/),
  });
  expect(end.ms).toBeGreaterThan(500);
  expect(isRunning(leader.pid)).toBe(false);
  await staysStopped(root);
  appendFileSync(join(root.path, "etc/machines/m.nspawn"), "TimeoutStopSec=infinity\n");
  await start(root);
  const typed = await root.berth("poweroff", "m", "--timeout=0.3");
  expect(typed.stderr).toMatch(/^berth: machine m did not end within 0\.3 s, and was killed\nhint: .*TimeoutStopSec=/);
});

test("RestartSec=, StartLimitBurst=: plan, check and cat show them", async () => {
  await using root = berthRoot();
  await makeMachine(root, "[Machine]\nRestartSec=2min 30s\nTimeoutStopSec=soon");
  const checked = await root.berth("check", "m");
  expect(checked.status).toBe(1);
  expect(checked.stdout).toMatch(
    /m\.nspawn:5:16: TimeoutStopSec=: "soon" is no time span, expected seconds, .* or infinity$/m,
  );
  root.settings("m", "[Machine]\nRestartSec=2min 30s\nStartLimitBurst=7");
  expect((await root.berth("check", "m")).stdout).toMatch(/m\.nspawn:2:12: warning: .* no effect without Restart=/);
  const planned = await root.berth("plan", "m");
  expect(planned.stderr).toMatch(/^berth: berthd minds RestartSec=150s \[.*m\.nspawn:2\]$/m);
  expect((await root.berth("cat", "m", "--effective")).stdout).toMatch(/^\[Machine\]\n# .*:2\nRestartSec=2min 30s$/m);
});

test("berth run does not start it again, whatever Restart= says", async () => {
  await using root = berthRoot();
  await makeMachine(
    root,
    "[Exec]\nBoot=yes\nParameters=--status 3 --term\nKillSignal=SIGTERM\n[Machine]\nRestart=always\nRestartSec=0",
  );
  await using machine = root.start("run", "-M", "m", "--console=read-only");
  const { leader } = await root.recordWhen("m");
  process.kill(leader.pid, "SIGKILL");
  expect((await machine.end).status).toBe(137);
});
