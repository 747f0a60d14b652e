/** `berth apply`: a running machine and its settings, brought in line as far as that can be, and taken back where nobody confirms. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import type { Applied } from "../../src/manager/applies.ts";
import { type BerthRoot, berthRoot, buildBerth, poll } from "../lib/berth.ts";
import { berthd, killDaemon } from "../lib/daemon.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { liveMachine } from "../lib/live-machine.ts";
import { needs } from "../lib/requires.ts";
import { ENDLESS, shellMachine } from "../lib/shell-machine.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const BASE = "[Files]\nBindReadOnly=/usr\n";

class Machine {
  readonly root: BerthRoot;
  readonly data: string;

  constructor(root: BerthRoot) {
    this.root = root;
    this.data = join(root.path, "data");
    mkdirSync(this.data);
    writeFileSync(join(this.data, "here"), "");
  }

  async start(settings = ""): Promise<void> {
    await shellMachine(this.root, "m", ENDLESS, settings);
    expect((await this.root.berth("start", "m")).status).toBe(0);
  }

  /** Its settings, the first two lines are of shellMachine. */
  say(more: string): void {
    this.root.settings("m", BASE + more);
  }

  async apply(...words: string[]): Promise<Applied> {
    const { status, stdout, stderr } = await this.root.berth("apply", "m", "--json", ...words);
    expect(status, stderr).toBe(0);
    return JSON.parse(stdout) as Applied;
  }

  /** At once, where a command in it would take some of the time that there is to confirm. */
  sees(target: string): boolean {
    return existsSync(join(`/proc/${this.root.record("m")?.leader.pid}/root`, target, "here"));
  }

  async stop(): Promise<void> {
    expect(await this.root.berth("poweroff", "m")).toMatchObject({ status: 0 });
  }
}

test.each([
  ["with ids of its own", ""],
  ["with the host's ids", "[Exec]\nPrivateUsers=no\n"],
])("binds come and go while it runs; the rest is listed, with its line: %s", async (_, users) => {
  await using root = berthRoot();
  const m = new Machine(root);
  await m.start(users);
  expect(await m.apply()).toEqual({ machine: "m", differences: [], applied: false, confirmBy: null });
  expect(await root.berth("apply", "m")).toMatchObject({ stderr: "berth: machine m runs as its settings say\n" });

  m.say(
    `Bind=${m.data}:/mnt/data\nBindReadOnly=/tmp:/new/place\nTemporaryFileSystem=/x\n${users}[Exec]\nEnvironment=A=1\n`,
  );
  const file = join(root.path, "etc/machines/m.nspawn");
  const wanted = [
    { kind: "live", what: `Bind=${m.data}:/mnt/data`, source: `${file}:3` },
    { kind: "live", what: "BindReadOnly=/tmp:/new/place", source: `${file}:4` },
  ];
  const dry = await m.apply("--dry-run");
  expect(dry.applied).toBe(false);
  expect(dry.differences.filter(({ kind }) => kind === "live")).toEqual(wanted);
  expect(m.sees("/mnt/data")).toBe(false);

  const done = await m.apply();
  expect(done).toMatchObject({ applied: true, confirmBy: null });
  expect(done.differences).toEqual(dry.differences);
  expect(m.sees("/mnt/data")).toBe(true);
  const inside = await root.berth("exec", "m", "--", "sh", "-c", "touch /new/place/x 2>&1");
  expect(inside.stdout).toMatch(/Read-only file system/);

  // What is done is no difference any more; what only a start can do still is.
  const rest = await m.apply();
  expect(rest.applied).toBe(false);
  expect(rest.differences.map(({ kind }) => kind)).toEqual(["restart", "restart"]);
  expect(rest.differences[0]).toMatchObject({ source: `${file}:5`, what: expect.stringMatching(/tmpfs/) });
  expect(rest.differences[1]?.what).toMatch(/^execute .*environment: \+"A=1"/);

  // A bind that apply made goes again, one of the start does not.
  root.settings("m", `[Files]\n${users}`);
  const text = await root.berth("apply", "m");
  expect(text.stdout).toContain(`applied          no more: Bind=${m.data}:/mnt/data\n`);
  expect(text.stdout).toMatch(/^needs a restart {2}no more: copy mount \/usr as bind:0/m);
  expect(m.sees("/mnt/data")).toBe(false);
  await m.stop();
});

test("[Machine] and KillSignal= take effect at once", async () => {
  await using root = berthRoot();
  const m = new Machine(root);
  await shellMachine(root, "m", "trap '' TERM; trap 'exit 0' USR1; echo up; while :; do sleep 1000 & wait $!; done");
  expect((await root.berth("start", "m")).status).toBe(0);
  m.say("[Machine]\nTimeoutStopSec=77\n[Exec]\nKillSignal=SIGUSR1\n");
  expect((await m.apply()).differences.map(({ kind, what }) => [kind, what])).toEqual([
    ["live", "what berthd does with it over its boots, [Machine]"],
    ["live", "how it is asked to power off, KillSignal="],
  ]);
  expect(root.record("m")?.killSignal).toBe(10);
  expect((await m.apply()).differences).toEqual([]);
  await m.stop();
});

test("what somebody has changed is told, and left alone", async () => {
  await using root = berthRoot();
  const m = new Machine(root);
  await m.start();
  expect((await root.berth("bind", "m", m.data, "/mnt")).status).toBe(0);
  expect((await m.apply()).differences).toEqual([
    { kind: "outside", what: `${m.data} is bound on /mnt`, source: null },
  ]);
  expect(m.sees("/mnt")).toBe(true);
  // Now the settings ask for it, too.
  m.say(`Bind=${m.data}:/mnt\n`);
  expect((await m.apply()).differences).toEqual([]);
  await m.stop();
});

test("where one change fails none is made", async () => {
  await using root = berthRoot();
  const m = new Machine(root);
  await m.start();
  expect((await root.berth("exec", "m", "--", "touch", "/mnt/file")).status).toBe(0);
  m.say(`Bind=${m.data}:/mnt/a\nBind=${m.data}:/mnt/file\n[Machine]\nRestart=always\n`);
  const { status, stderr } = await root.berth("apply", "m");
  expect([status, stderr]).toEqual([1, expect.stringMatching(/"\/mnt\/file" in machine m is no place for it/)]);
  expect(m.sees("/mnt/a")).toBe(false);
  expect((await m.apply("--dry-run")).differences.map(({ kind }) => kind)).toEqual(["live", "live", "live"]);
  await m.stop();
});

test("--confirm-within: what nobody confirms is taken back, what somebody does stays", async () => {
  await using root = berthRoot();
  const m = new Machine(root);
  await m.start();
  m.say(`Bind=${m.data}:/mnt\n`);
  const first = await m.apply("--confirm-within=6s");
  expect(Date.parse(first.confirmBy ?? "") - Date.now()).toBeLessThan(6000);
  expect(m.sees("/mnt")).toBe(true);
  await poll("the time to be over", () => (Date.now() > Date.parse(first.confirmBy ?? "") ? true : undefined));
  await poll("its end", () =>
    readFileSync(join(root.path, "run/berthd.log"), "utf8").includes("is taken back") ? true : undefined,
  );
  expect(m.sees("/mnt")).toBe(false);
  expect(await root.berth("apply", "m", "--confirm")).toMatchObject({
    status: 1,
    stderr: "berth: nothing that was applied to machine m waits to be confirmed\n",
  });

  const second = await root.berth("apply", "m", "--confirm-within=1min");
  expect(second.stderr).toBe("berth: taken back in 1min, unless you confirm: berth apply m --confirm\n");
  // Another one has to wait.
  m.say(`Bind=${m.data}:/mnt\nBind=/tmp:/other\n`);
  expect((await root.berth("apply", "m")).stderr).toMatch(/waits to be confirmed, \d+ s more\nhint: /);
  expect((await root.berth("apply", "m", "--confirm")).status).toBe(0);
  expect((await root.berth("apply", "m", "--confirm-within=1min")).status).toBe(0);
  expect((await root.berth("apply", "m", "--revert")).status).toBe(0);
  expect([m.sees("/mnt"), (await m.apply("--dry-run")).differences.length]).toEqual([true, 1]);
  expect((await root.berth("apply", "m", "--confirm", "--dry-run")).status).toBe(2);
  expect((await root.berth("apply", "m", "--confirm-within=soon")).status).toBe(2);
  await m.stop();
});

test("what [Machine] said at its start, or was applied since, outlives the daemon", async () => {
  await using root = berthRoot();
  const m = new Machine(root);
  await m.start("[Machine]\nRestart=on-failure\nRestartSec=0\nStartLimitIntervalSec=infinity\n");
  await killDaemon(root);
  expect((await root.berth("daemon", "start")).status).toBe(0);
  m.say("[Machine]\nRestart=no\n");
  const policy = { kind: "live", what: "what berthd does with it over its boots, [Machine]" };
  expect((await m.apply("--dry-run")).differences).toMatchObject([policy]);
  m.say("[Machine]\nRestart=on-failure\nRestartSec=0\nStartLimitIntervalSec=infinity\n");
  expect((await m.apply("--dry-run")).differences).toEqual([]);
  m.say("[Machine]\nRestart=no\n");
  const leader = root.record("m")?.leader.pid ?? 0;
  process.kill(leader, "SIGKILL");
  await root.recordWhen("m", (record) => record.leader.pid !== leader && record.ready);
  await m.stop();
});

test("--confirm-within is the same time where the host's clock is set back meanwhile", async () => {
  await using root = berthRoot();
  const [hook, back] = [join(root.path, "clock.cjs"), join(root.path, "back")];
  writeFileSync(
    hook,
    `const now = Date.now; Date.now = () => now() - (require("node:fs").existsSync(${JSON.stringify(back)}) ? 3_600_000 : 0);`,
  );
  await using daemon = await berthd(root, { env: { NODE_OPTIONS: `--require=${hook}` } });
  const m = new Machine(root);
  await m.start();
  m.say(`Bind=${m.data}:/mnt\n`);
  await m.apply("--confirm-within=6s");
  expect(m.sees("/mnt")).toBe(true);
  writeFileSync(back, "");
  await poll("its end", () => (daemon.stderr.includes("is taken back") ? true : undefined));
  expect(m.sees("/mnt")).toBe(false);
  await m.stop();
});

test.each(["before", "after"])(
  "the time runs on where the daemon is killed meanwhile, and is over %s the next one",
  async (when) => {
    await using root = berthRoot();
    const m = new Machine(root);
    await m.start();
    m.say(`Bind=${m.data}:/mnt\n[Exec]\nKillSignal=SIGUSR1\n`);
    const { confirmBy } = await m.apply(`--confirm-within=${when === "before" ? "5s" : "12s"}`);
    await killDaemon(root);
    const over = (): true | undefined => (Date.now() > Date.parse(confirmBy ?? "") ? true : undefined);
    if (when === "before") await poll("the time to be over", over);
    expect(m.sees("/mnt")).toBe(true);
    expect((await root.berth("daemon", "start")).status).toBe(0);
    if (when === "after") expect(m.sees("/mnt")).toBe(true);
    await poll("the old way to be asked", () => (root.record("m")?.killSignal === 15 ? true : undefined));
    expect(over()).toBe(true);
    expect(m.sees("/mnt")).toBe(false);
    await m.stop();
  },
);

test("what does not run, or berth run has, is said", async () => {
  await using live = await liveMachine();
  const { status, stderr } = await live.berth("apply", "m");
  expect([status, stderr]).toEqual([1, expect.stringMatching(/^berth: machine m is run by berth run, /)]);
  expect((await live.berth("apply", "n")).stderr).toMatch(/^berth: no machine "n" is running\n/);
});
