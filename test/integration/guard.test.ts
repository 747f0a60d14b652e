/** `berth guard`: a change that succeeds stays, one that fails in any way, or is interrupted, is undone. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { type BerthRoot, buildBerth, type End, poll } from "../lib/berth.ts";
import { killDaemon } from "../lib/daemon.ts";
import { type ImageRoot, imageRoot } from "../lib/image-root.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";
import { shellMachine } from "../lib/shell-machine.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

/** Is told to reboot by INT, and counts its boots. A file /etc/broken makes it end at once, /etc/ignore not reboot. */
const INIT = `
  echo boot >>/etc/boots
  [ ! -e /etc/broken ] || exit 3
  trap '[ -e /etc/ignore ] || exec /probe reboot restart' INT
  trap 'exit 0' TERM
  while :; do sleep 0.1; done`;

async function guarded(root: BerthRoot, files = ""): Promise<string> {
  const tree = await shellMachine(root, "m", INIT);
  root.settings("m", `[Files]\nBindReadOnly=/usr\n${files}[Exec]\nEnvironment=SETTING=old`);
  expect((await root.berth("start", "m")).status).toBe(0);
  return tree;
}

const sh = (script: string): readonly string[] => ["--", "sh", "-c", script];

async function state({ done }: ImageRoot): Promise<{ readonly state: string; readonly ready: boolean }> {
  return JSON.parse(await done("list", "--json"))[0];
}

async function names({ done }: ImageRoot): Promise<readonly string[]> {
  return JSON.parse(await done("list", "--json")).map(({ name }: { name: string }) => name);
}

async function snapshots({ done }: ImageRoot): Promise<readonly string[]> {
  return JSON.parse(await done("snapshots", "m", "--json")).map(({ name }: { name: string }) => name);
}

/** It runs, and is as it was. */
async function expectUndone(store: ImageRoot, tree: string, { stderr }: End): Promise<void> {
  expect(existsSync(join(tree, "etc/changed"))).toBe(false);
  expect(await state(store)).toMatchObject({ state: "running", ready: true });
  expect(stderr).toMatch(
    /m is what it was before and runs; m@before-rollback has what was undone: berth diff m snap0 before-rollback shows it\n$/,
  );
  expect(await snapshots(store)).toEqual(["snap0", "before-rollback"]);
  expect(readFileSync(join(store.machines, ".berth-snapshots/m/before-rollback/image/etc/changed"), "utf8")).toBe(
    "yes\n",
  );
  await store.done("rollback", "m", "--confirm");
}

test("what succeeds stays: its output streams, the machine has booted again, the snapshot is kept and goes back", async () => {
  await using store = await imageRoot("directory");
  const { root, done } = store;
  const tree = await guarded(root);
  const check = ["--check", "test -e /etc/changed"];
  const end = await root.berth(
    "guard",
    "m",
    "--snapshot",
    "before",
    ...check,
    ...sh("echo said; echo yes >/etc/changed; echo err >&2"),
  );
  expect([end.status, end.stdout]).toEqual([0, "said\n"]);
  expect(end.stderr).toMatch(/^berth: guard: m@before is made\nerr\nberth: guard: rebooting\n/);
  expect(end.stderr).toMatch(
    /succeeded, it has booted again and is ready, the check succeeded; .*berth rollback m before --restart goes back\n$/,
  );
  expect(readFileSync(join(tree, "etc/boots"), "utf8")).toBe("boot\nboot\n");
  expect(await snapshots(store)).toEqual(["before"]);
  const quick = await root.berth("guard", "--no-reboot", "m", ...sh("cat"), "more");
  expect([quick.status, await snapshots(store)]).toEqual([0, ["before", "snap0"]]);
  expect(readFileSync(join(tree, "etc/boots"), "utf8")).toBe("boot\nboot\n");
  await done("rollback", "m", "before", "--restart");
  expect(existsSync(join(tree, "etc/changed"))).toBe(false);
  await done("poweroff", "m");
});

test("a command that fails, a check that does, a machine that does not boot again or not in time: all is undone", async () => {
  await using store = await imageRoot("directory");
  const { root, done } = store;
  const tree = await guarded(root);
  const change = "echo yes >/etc/changed";
  for (const [status, words] of [
    [7, sh(`${change}; exit 7`)],
    [128 + 9, sh(`${change}; kill -9 $$`)],
    [123, ["--no-reboot", "--check", "exit 5", ...sh(change)]],
    [124, sh(`${change}; touch /etc/broken`)],
    [124, ["--timeout", "1", ...sh(`${change}; touch /etc/ignore`)]],
  ] as const) {
    const end = await root.berth("guard", "m", ...words);
    expect(end.status, end.stderr).toBe(status);
    await expectUndone(store, tree, end);
    await done("remove", "m@snap0");
  }
  await done("poweroff", "m");
});

test("a systemd that has booted into a shell for repairs is not ready: all is undone; a degraded one is", async () => {
  await using store = await imageRoot("directory");
  const { root, done } = store;
  const programs = join(root.path, "programs");
  mkdirSync(programs);
  writeFileSync(join(programs, "systemctl"), "#!/bin/sh\ncat /etc/state\nexit 1\n", { mode: 0o755 });
  const tree = await guarded(root, `BindReadOnly=${programs}:/usr/local/sbin\n`);
  const end = await root.berth("guard", "m", ...sh("echo yes >/etc/changed; echo maintenance >/etc/state"));
  expect(end.status, end.stderr).toBe(124);
  expect(end.stderr).toContain("it has booted into rescue or emergency mode; rolling back\n");
  await expectUndone(store, tree, end);
  expect((await root.berth("guard", "m", ...sh("echo degraded >/etc/state"))).status).toBe(0);
  await done("poweroff", "m");
});

test("a command that can't be executed has changed nothing: the machine goes on, and no snapshot is kept", async () => {
  await using store = await imageRoot("directory");
  const { root, done } = store;
  const tree = await guarded(root);
  for (const [status, command] of [
    [127, "/no/such/program"],
    [126, "/etc"],
  ] as const) {
    const end = await root.berth("guard", "m", "--", command);
    expect([end.status, end.stderr]).toEqual([status, expect.stringContaining(command)]);
    expect(end.stderr).not.toContain("rolling back");
    expect(await snapshots(store)).toEqual([]);
  }
  expect(readFileSync(join(tree, "etc/boots"), "utf8")).toBe("boot\n");
  // What the change itself takes away is undone.
  const end = await root.berth(
    "guard",
    "m",
    "--no-reboot",
    "--check",
    "true",
    ...sh("echo yes >/etc/changed; mv /bin /gone"),
  );
  await expectUndone(store, tree, end);
  await done("poweroff", "m");
});

test.each(["SIGINT", "SIGTERM"] as const)(
  "%s while the command runs, or the machine reboots, ends in the old state",
  async (signal) => {
    await using store = await imageRoot("directory");
    const { root, done } = store;
    const tree = await guarded(root);
    for (const script of ["exec sleep 1000", "trap '' INT TERM; sleep 1000 & wait; sleep 1000"]) {
      await using guard = root.start("guard", "m", ...sh(`echo yes >/etc/changed; echo begun; ${script}`));
      await guard.until(/begun/);
      guard.kill(signal);
      if (script.startsWith("trap")) {
        await new Promise((resolve) => setTimeout(resolve, 200));
        expect(guard.child.exitCode).toBeNull();
        guard.kill(signal);
      }
      const end = await guard.end;
      expect(end.status, end.stderr).toBe(130);
      await expectUndone(store, tree, end);
      await done("remove", "m@snap0");
    }
    const init = join(tree, "sbin/init");
    const text = readFileSync(init, "utf8");
    await using guard = root.start("guard", "m", ...sh("echo yes >/etc/changed; touch /etc/ignore; echo >/sbin/init"));
    await guard.until(/rebooting/);
    guard.kill(signal);
    const end = await guard.end;
    expect(end.status, end.stderr).toBe(130);
    await expectUndone(store, tree, end);
    expect(readFileSync(init, "utf8")).toBe(text);
    await done("poweroff", "m");
  },
);

test("a daemon that is killed meanwhile: the change is undone by the next one", async () => {
  await using store = await imageRoot("directory");
  const { root, done } = store;
  const tree = await guarded(root);
  await using guard = root.start("guard", "m", ...sh("echo yes >/etc/changed; echo begun; sleep 1000"));
  await guard.until(/begun/);
  await killDaemon(root);
  const end = await guard.end;
  expect([end.status, end.stderr]).toEqual([125, expect.stringContaining("berthd has gone; rolling back")]);
  await expectUndone(store, tree, end);
  await done("poweroff", "m");
});

test("settings go back with the tree; a machine that does not run under berthd is not guarded", async () => {
  await using store = await imageRoot("directory");
  const { root, done, refused: _ } = store;
  const tree = await guarded(root);
  await using guard = root.start(
    "guard",
    "m",
    ...sh("echo yes >/etc/changed; echo begun; while [ ! -e /etc/go ]; do sleep 0.1; done; exit 1"),
  );
  await guard.until(/begun/);
  root.settings("m", "[Exec]\nEnvironment=SETTING=new");
  writeFileSync(join(tree, "etc/go"), "");
  const end = await guard.end;
  expect(end.status).toBe(1);
  await expectUndone(store, tree, end);
  expect(readFileSync(join(root.etc, "machines/m.nspawn"), "utf8")).toContain("SETTING=old");
  await done("poweroff", "m");
  const stopped = await root.berth("guard", "m", "--", "true");
  expect([stopped.status, stopped.stderr]).toEqual([
    125,
    expect.stringMatching(/no machine|not running|can't be guarded/),
  ]);
  expect((await root.berth("guard", "m")).status).toBe(2);
  await poll("no rest", () =>
    readdirSync(store.machines).some((name) => name.startsWith(".berth-making")) ? undefined : true,
  );
});

test("a machine that could not be rolled back, as a throw-away copy runs from its image, is refused before", async () => {
  await using store = await imageRoot("directory");
  const { root, done } = store;
  const tree = await guarded(root);
  const copy =
    (await done("start", "-x", "m").catch(() => "")).trim() || (await names(store)).find((name) => name !== "m");
  const refused = await root.berth("guard", "m", ...sh("echo yes >/etc/changed; false"));
  expect([refused.status, refused.stderr]).toEqual([
    125,
    `berth: machine m can't be guarded: it could not be rolled back while ${copy} runs from the same image\nhint: berth poweroff ${copy} first\n`,
  ]);
  expect(existsSync(join(tree, "etc/changed"))).toBe(false);
  expect(await snapshots(store)).toEqual([]);
  // One that comes later is named as well.
  await done("terminate", copy ?? "");
  const late = root.berth("guard", "m", ...sh("until [ -e /etc/go ]; do sleep 0.1; done; false"));
  await poll("the snapshot", async () => ((await snapshots(store)).length === 1 ? true : undefined));
  await root.berth("start", "-x", "m");
  writeFileSync(join(tree, "etc/go"), "");
  const end = await late;
  const other = (await names(store)).find((name) => name !== "m");
  expect([end.status, end.stderr]).toEqual([
    125,
    expect.stringMatching(`hint: berth poweroff ${other} stops it; berth rollback m snap0 --restart tries again\n$`),
  ]);
});
