/** `berth edit`, `berth enable` and `berth disable`. */
import { existsSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { BERTH, type BerthRoot, berthRoot, buildBerth, poll } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { probeTree } from "../lib/probe.ts";
import { openTerminal } from "../lib/pty.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:setsid");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

/** An editor that makes of the file what this script does with "$1"; where it is run, it leaves word. */
function editor(root: BerthRoot, script: string): string {
  const path = join(root.path, "editor with a space");
  writeFileSync(path, `#!/bin/sh\necho run >>'${root.path}/edited'\n${script}\n`, { mode: 0o755 });
  return `'${path}'`;
}

function edited(root: BerthRoot): number {
  const file = join(root.path, "edited");
  return existsSync(file) ? readFileSync(file, "utf8").trim().split("\n").length : 0;
}

async function edit(root: BerthRoot, script: string, env: Record<string, string> = {}) {
  return root.spawn([BERTH, "edit", "m"], { env: { ...root.env, VISUAL: editor(root, script), ...env } }).end;
}

describe("edit", () => {
  const settings = (root: BerthRoot) => join(root.path, "etc/machines/m.nspawn");

  test("makes the file from a template, and checks it", async () => {
    await using root = berthRoot();
    const { status, stderr } = await edit(
      root,
      'grep -q "^# Settings of machine m" "$1" && echo "Hostname=emm" >"$1.new" && { echo "[Exec]"; cat "$1.new"; } >"$1"; rm "$1.new"',
    );
    expect({ status, stderr }).toEqual({
      status: 0,
      stderr: `berth: ${settings(root)} is written; there is no tree of m yet\n`,
    });
    expect(readFileSync(settings(root), "utf8")).toBe("[Exec]\nHostname=emm\n");
    expect((await root.berth("check", "m")).status).toBe(0);
  });

  test.each([
    ["leaves it as it is", "exit 0", 0, /m\.nspawn is as it was: there is none\n$/],
    [
      "fails",
      'echo "[Exec]" >"$1"; exit 3',
      1,
      /^berth: '.*editor with a space' ended with status 3\nhint: nothing was changed/,
    ],
  ])("leaves nothing when the editor %s", async (_, script, wanted, message) => {
    await using root = berthRoot();
    const { status, stderr } = await edit(root, script);
    expect(stderr).toMatch(message);
    expect([status, existsSync(settings(root))]).toEqual([wanted, false]);
  });

  test("shows all that is wrong, with its place, and fails where nobody can be asked", async () => {
    await using root = berthRoot();
    root.settings("m", "[Exec]\nBoot=yes");
    const { status, stderr } = await edit(root, 'printf "[Exec]\\nBoot=x\\nKillSignal=1000\\n" >"$1"');
    expect(status).toBe(1);
    const lines = stderr.split("\n");
    expect(lines[0]).toMatch(/m\.nspawn:2:\d+: .*"x"/);
    expect(lines[1]).toMatch(/m\.nspawn:3:\d+: .*1000/);
    expect(lines.slice(2)).toEqual([
      `berth: ${settings(root)} can't be used as it is`,
      "hint: berth edit m edits it again",
      "",
    ]);
    expect(readFileSync(settings(root), "utf8")).toContain("Boot=x");
  });

  test("asks on a terminal: again until it is right, or undone", async () => {
    await using root = berthRoot();
    root.settings("m", "[Exec]\nBoot=yes");
    const script = `case $(wc -l <'${root.path}/edited') in 1|2) echo Boot=x >>"$1";; *) sed -i /=x/d "$1"; echo Hostname=emm >>"$1";; esac`;
    const env = { ...root.env, EDITOR: editor(root, script), VISUAL: "" };
    await using terminal = openTerminal();
    const { end } = terminal.spawn([BERTH, "edit", "m"], env);
    await terminal.until(/m\.nspawn:3:.*\r\nedit it \[a\]gain, \[k\]eep it, or \[u\]ndo\? $/);
    terminal.type("nonsense\r");
    await terminal.until(/nonsense\r\nedit it/);
    terminal.type("a\r");
    await terminal.until(/m\.nspawn:4:.*\r\nedit it .* $/);
    terminal.type("a\r");
    expect((await end).status).toBe(0);
    expect(edited(root)).toBe(3);
    expect(readFileSync(settings(root), "utf8")).toBe("[Exec]\nBoot=yes\nHostname=emm\n");

    await using second = openTerminal();
    const undone = second.spawn([BERTH, "edit", "m"], {
      ...root.env,
      EDITOR: editor(root, 'echo Boot=x >>"$1"'),
      VISUAL: "",
    });
    await second.until(/\[u\]ndo\? $/);
    second.type("u\r");
    expect((await undone.end).status).toBe(0);
    expect(second.output).toMatch(/m\.nspawn is as it was\r\n$/);
    expect(readFileSync(settings(root), "utf8")).toBe("[Exec]\nBoot=yes\nHostname=emm\n");
  });

  test("edits the file that counts, wherever it is", async () => {
    await using root = berthRoot();
    const beside = join(root.directory("machines"), "m.nspawn");
    writeFileSync(beside, "[Exec]\nBoot=yes\n");
    expect((await edit(root, 'echo "Hostname=emm" >>"$1"')).status).toBe(0);
    expect(readFileSync(beside, "utf8")).toBe("[Exec]\nBoot=yes\nHostname=emm\n");
    expect(existsSync(settings(root))).toBe(false);
  });
});

async function makeMachine(root: BerthRoot, name: string): Promise<void> {
  const tree = await probeTree({ at: join(root.machines, name) });
  for (const link of ["bin", "lib", "lib64"]) symlinkSync(`usr/${link}`, join(tree, link));
  root.settings(name, "[Files]\nBindReadOnly=/usr");
  writeFileSync(join(tree, "sbin/init"), "#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 0.1; done\n", {
    mode: 0o755,
  });
}

describe("enable", () => {
  test("makes the daemon start machines once after the host's boot, and disable that it does not", async () => {
    await using root = berthRoot();
    for (const name of ["m", "n", "o"]) await makeMachine(root, name);
    expect(await root.berth("enable", "m", "n", "o")).toMatchObject({ status: 0, stderr: "" });
    expect(await root.berth("disable", "o")).toMatchObject({ status: 0, stderr: "" });
    expect(root.record("m")).toBeNull();
    expect((await root.berth("daemon", "start")).status).toBe(0);
    for (const name of ["m", "n"]) await root.recordWhen(name, ({ ready: isReady }) => isReady);
    expect((await root.berth("terminate", "m")).status).toBe(0);
    // What was stopped stays so, until the host boots again.
    await root.berth("daemon", "stop");
    await root.berth("daemon", "start");
    expect((await root.berth("list")).stdout).not.toMatch(/^[mo] /m);
    await root.berth("daemon", "stop");
    writeFileSync(join(root.path, "run/enabled-started"), "another boot\n");
    await root.berth("daemon", "start");
    await root.recordWhen("m");
    expect(root.record("o")).toBeNull();
    expect((await root.berth("daemon", "stop", "--machines")).status).toBe(0);
  });

  test("one that can't be started is shown as failed, and keeps nobody from anything", async () => {
    await using root = berthRoot();
    await makeMachine(root, "m");
    await makeMachine(root, "n");
    writeFileSync(join(root.machines, "m/sbin/init"), "#!/bin/sh\nexit 3\n");
    await root.berth("enable", "m", "n");
    expect((await root.berth("daemon", "start")).status).toBe(0);
    await root.recordWhen("n", ({ ready: isReady }) => isReady);
    await poll("its log", () =>
      /is enabled, but: .*status 3/.test(readFileSync(join(root.path, "run/berthd.log"), "utf8")) ? true : undefined,
    );
    expect((await root.berth("list")).stdout).toMatch(/^m .*failed/m);
    expect((await root.berth("terminate", "n")).status).toBe(0);
  });

  test("--now starts and powers off as well; what there is not is named", async () => {
    await using root = berthRoot();
    await makeMachine(root, "m");
    expect(await root.berth("enable", "--now", "m")).toMatchObject({ status: 0, stderr: "" });
    expect(root.record("m")).toMatchObject({ ready: true });
    expect(await root.berth("enable", "--now", "m")).toMatchObject({
      status: 0,
      stderr: "berth: machine m is enabled already\n",
    });
    expect((await root.berth("terminate", "m")).status).toBe(0);
    expect(await root.berth("disable", "m")).toMatchObject({ status: 0, stderr: "" });
    expect(await root.berth("disable", "m")).toMatchObject({ status: 0, stderr: "berth: machine m is not enabled\n" });
    expect(await root.berth("enable", "mm")).toMatchObject({
      status: 1,
      stderr: 'berth: there is no machine "mm"\nhint: did you mean m?\n',
    });
  });
});
