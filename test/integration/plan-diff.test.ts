/** `berth plan NAME --diff`: what has changed since the last start that became ready. */
import { beforeAll, expect, test } from "vitest";
import { type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";
import { ENDLESS, shellMachine } from "../lib/shell-machine.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const FILES = "[Files]\nBindReadOnly=/usr\n";

async function diff(root: BerthRoot, ...words: string[]): Promise<string> {
  const { status, stdout, stderr } = await root.berth("plan", "m", "--diff", ...words);
  expect(status, stderr).toBe(0);
  return stdout === "" ? stderr : stdout;
}

test.each([
  ["with ids of its own", ""],
  ["with the host's ids", "[Exec]\nPrivateUsers=no\n"],
  ["throw-away", "[Exec]\nEphemeral=yes\n"],
])("nothing has changed while it runs, and when it has ended: %s", async (_, settings) => {
  await using root = berthRoot();
  await shellMachine(root, "m", ENDLESS, settings);
  expect((await root.berth("start", "m")).status).toBe(0);
  expect(await diff(root)).toMatch(/^berth: nothing has changed since boot 0 of [\d-]+T\S+Z\n$/m);
  expect((await root.berth("poweroff", "m")).status).toBe(0);
  // A throw-away machine that does not run may get any range.
  if (!settings.includes("Ephemeral")) expect(await diff(root)).toMatch(/nothing has changed since boot -1 /);
});

test("what has changed, with the line of the settings; against the last start that became ready", async () => {
  await using root = berthRoot();
  await shellMachine(root, "m", ENDLESS);
  const { status, stderr } = await root.berth("plan", "m", "--diff");
  expect([status, stderr]).toEqual([
    1,
    "berth: machine m has not run since the host's boot\nhint: berth start m boots it\n",
  ]);
  expect((await root.berth("start", "m")).status).toBe(0);
  root.settings("m", `${FILES}TemporaryFileSystem=/mnt:size=1m\n[Exec]\nEnvironment=A=1\n`);
  const text = await diff(root);
  expect(text).toMatch(/^changes since boot 0 of /m);
  expect(text).toMatch(/^\+ #\d+ keeper {2}attach tmpfs:0 on \/mnt .* m\.nspawn:3\n/m);
  expect(text).toMatch(
    /^- #\d+ init {4}execute \/sbin\/init .*\n\+ #\d+ init {4}execute \/sbin\/init .*\n {15}environment: \+"A=1"\n/m,
  );
  const document = JSON.parse(await diff(root, "--json"));
  expect(document).toMatchObject({ machine: "m", boot: 0 });
  const steps = document.changes.map(({ change, kind }: { change: string; kind: string }) => change + kind);
  expect(steps).toEqual(["+make-file-system", "+attach", "-execute", "+execute"]);

  // A start that fails, or does not become ready, is none to compare with.
  expect((await root.berth("poweroff", "m")).status).toBe(0);
  root.settings("m", `${FILES}[Exec]\nNotifyReady=yes\n`);
  expect((await root.berth("start", "m", "--timeout=1")).status).toBe(1);
  root.settings("m", FILES);
  expect(await diff(root)).toMatch(/nothing has changed since boot -2 /);
  expect((await root.berth("plan", "--diff", "-D", root.machines)).status).toBe(2);
});
