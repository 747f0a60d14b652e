/** `berth console`: many look at a machine's console, one types; over a restart of the daemon and without one. */
import { symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { BERTH, type BerthRoot, berthRoot, buildBerth, isRunning, poll } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { probeTree } from "../lib/probe.ts";
import { openTerminal, type Terminal, untilSized } from "../lib/pty.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:setsid");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const ESCAPE = "\x1d".repeat(3);
const INIT = `#!/bin/sh
trap 'exit 0' TERM
echo "what it said before"
printf 'prompt> '
while read line; do
  case $line in
    quit) exit 0;;
    size) stty size;;
  esac
  echo "got $line"
done
`;

/** Its init answers to what is typed on its console. */
async function makeMachine(root: BerthRoot): Promise<void> {
  const tree = await probeTree({ at: join(root.machines, "m") });
  for (const name of ["bin", "lib", "lib64"]) symlinkSync(`usr/${name}`, join(tree, name));
  root.settings("m", "[Files]\nBindReadOnly=/usr");
  writeFileSync(join(tree, "sbin/init"), INIT, { mode: 0o755 });
}

function attach(root: BerthRoot, terminal: Terminal, ...words: string[]) {
  return terminal.spawn([BERTH, "console", "m", ...words], root.env);
}

const raw = (terminal: Terminal) => poll("a raw terminal", () => (terminal.flags().canonical ? undefined : true));

async function startMachine(root: BerthRoot): Promise<void> {
  await makeMachine(root);
  expect(await root.berth("start", "m")).toMatchObject({ status: 0 });
  await poll("its prompt", () => (root.consoleLog("m").includes("prompt>") ? true : undefined));
}

test("shows the last lines and what comes, passes on what is typed and the size, and is left by ^] three times", async () => {
  await using root = berthRoot();
  await startMachine(root);
  await using terminal = openTerminal({ rows: 33, columns: 99 });
  const before = terminal.modes();
  const { end } = attach(root, terminal);
  await terminal.until(/what it said before\r\nprompt> $/);
  await raw(terminal);
  terminal.type("size\r");
  await terminal.until(/33 99\r\ngot size/);
  terminal.resize({ rows: 50, columns: 132 });
  await untilSized((await root.recordWhen("m")).leader.pid, { rows: 50, columns: 132 });
  terminal.type("size\r");
  await terminal.until(/50 132\r\ngot size/);
  terminal.type(ESCAPE);
  expect(await end).toEqual({ status: 0, signal: null });
  expect(terminal.modes()).toBe(before);
  expect(terminal.output).toMatch(/^berth: the console of machine m; \^\] three times/);
  expect(terminal.output).toMatch(/berth: left machine m, which goes on\r\n$/);
  expect(root.record("m")?.state).toBe("running");
  expect((await root.berth("terminate", "m")).status).toBe(0);
});

test("one types at a time: the others see it all, are told why they don't, and come next", async () => {
  await using root = berthRoot();
  await startMachine(root);
  await using first = openTerminal();
  await using second = openTerminal();
  await using third = openTerminal();
  const typing = attach(root, first);
  await raw(first);
  const looking = attach(root, second);
  await second.until(/^berth: .*\r\nberth: process \d+ types on the console of machine m: here it is shown only\r\n/);
  await second.until(/prompt> $/);
  first.type("one\r");
  await first.until(/got one/);
  await second.until(/got one/);
  second.type("two\r");
  first.type("three\r");
  await second.until(/got three/);
  expect(second.output).not.toContain("got two");
  first.type(ESCAPE);
  expect((await typing.end).status).toBe(0);
  const next = attach(root, third);
  await raw(third);
  third.type("four\r");
  await third.until(/got four/);
  await second.until(/got four/);
  second.type("\x03"); // it is an ordinary terminal there
  expect((await looking.end).status).toBe(0);
  third.type("quit\r");
  expect((await next.end).status).toBe(0);
  expect(third.output).toMatch(/berth: this boot of machine m is over\r\n$/);
});

test("who is killed leaves it to the next one", async () => {
  await using root = berthRoot();
  await startMachine(root);
  await using first = openTerminal();
  const { child, end } = attach(root, first);
  await raw(first);
  process.kill(child.pid ?? 0, "SIGKILL");
  await end;
  await using second = openTerminal();
  const next = attach(root, second);
  await raw(second);
  second.type("again\r");
  await second.until(/got again/);
  second.hangUp();
  await next.end;
  expect((await root.berth("terminate", "m")).status).toBe(0);
});

test("goes on while the daemon is killed, and with the next one", async () => {
  await using root = berthRoot();
  await startMachine(root);
  await using terminal = openTerminal();
  const { end } = attach(root, terminal);
  await raw(terminal);
  const { pid } = JSON.parse((await root.berth("daemon", "status", "--json")).stdout);
  process.kill(pid, "SIGKILL");
  await poll("its end", () => (isRunning(pid) ? undefined : true));
  terminal.type("without\r");
  await terminal.until(/got without/);
  expect((await root.berth("daemon", "start")).status).toBe(0);
  terminal.type("with\r");
  await terminal.until(/got with\r/);
  terminal.type(ESCAPE);
  expect((await end).status).toBe(0);
  expect((await root.berth("terminate", "m")).status).toBe(0);
});

test("--read-only takes nothing from who types; nor is typed there what a berth run types on", async () => {
  await using root = berthRoot();
  await makeMachine(root);
  await using owner = openTerminal();
  const running = owner.spawn([BERTH, "run", "-q", "-M", "m", "-b"], root.env);
  await owner.until(/prompt> $/);
  await raw(owner);
  await using reader = openTerminal();
  const reading = attach(root, reader, "--read-only");
  await reader.until(/\^C leaves it\r\n[\s\S]*prompt> $/);
  await using other = openTerminal();
  const looking = attach(root, other);
  await other.until(/types on the console of machine m/);
  other.type("two\r");
  owner.type("one\r");
  for (const terminal of [owner, reader, other]) await terminal.until(/got one/);
  owner.type("quit\r");
  for (const { end } of [running, reading, looking]) expect((await end).status).toBe(0);
  expect(owner.output).not.toContain("two");
});

test("takes what is typed from a pipe, too", async () => {
  await using root = berthRoot();
  await startMachine(root);
  const { status, stdout, stderr } = await root.spawn([BERTH, "console", "m"], { input: "size\nquit\n" }).end;
  expect({ status, stderr }).toEqual({ status: 0, stderr: "berth: this boot of machine m is over\n" });
  expect(stdout).toMatch(/^what it said before\r\nprompt> [\s\S]*got size\r\n/);
});

test("of a machine that does not run says so", async () => {
  await using root = berthRoot();
  await makeMachine(root);
  expect(await root.berth("console", "m")).toMatchObject({
    status: 1,
    stderr: 'berth: no machine "m" is running\nhint: berth start m boots it\n',
  });
});
