/** `berth start --ephemeral`: throw-away copies of a machine, several at once, of which nothing is left. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { type BerthRoot, berthRoot, buildBerth, poll } from "../lib/berth.ts";
import { killDaemon } from "../lib/daemon.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";
import { ENDLESS, shellMachine } from "../lib/shell-machine.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

async function succeeds(root: BerthRoot, ...words: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await root.berth(...words);
  expect([status, stderr]).toEqual([0, ""]);
  return stdout;
}

async function names(root: BerthRoot): Promise<readonly string[]> {
  return JSON.parse(await succeeds(root, "list", "--json")).map(({ name }: { name: string }) => name);
}

/** Of throw-away machines that have ended, in the store and in the run directory. */
function rest(root: BerthRoot): readonly string[] {
  const of = (directory: string): readonly string[] => {
    const path = join(root.path, directory);
    return existsSync(path) ? readdirSync(path).filter((name) => name.startsWith("m-")) : [];
  };
  return [...of("run/throw-away"), ...of("run/history"), ...of("run/state"), ...of("run/running"), ...root.leftovers()];
}

async function nothingLeft(root: BerthRoot): Promise<void> {
  await poll("the end of all rests", () => (rest(root).length === 0 ? true : undefined));
}

test("--ephemeral: several beside the machine itself, each with its settings and changes of its own", async () => {
  await using root = berthRoot();
  const tree = await shellMachine(root, "m", ENDLESS, "[Exec]\nEnvironment=OF=m");
  await succeeds(root, "start", "m");
  const [one, two] = [await succeeds(root, "start", "-x", "m"), await succeeds(root, "start", "--ephemeral", "m")].map(
    (said) => said.trimEnd(),
  );
  if (one === undefined || two === undefined) throw new Error("no names");
  expect([one, two]).toEqual([expect.stringMatching(/^m-[0-9a-f]{8}$/), expect.stringMatching(/^m-[0-9a-f]{8}$/)]);
  expect(await names(root)).toEqual(["m", one, two].sort());
  await succeeds(root, "exec", one, "--", "sh", "-c", "echo one >/etc/mark; rm /etc/os-release");
  expect((await root.berth("exec", two, "--", "cat", "/etc/mark")).status).toBe(1);
  expect(existsSync(join(tree, "etc/mark"))).toBe(false);
  expect(existsSync(join(tree, "etc/os-release"))).toBe(true);
  expect(await succeeds(root, "exec", two, "--", "sh", "-c", "tr '\\0' '\\n' </proc/1/environ")).toContain("OF=m");
  const shown = JSON.parse(await succeeds(root, "show", one, "--json"));
  expect(shown.settings).toContainEqual(expect.objectContaining({ key: "Environment", value: "OF=m" }));
  expect((await root.berth("rollback", "m")).status).toBe(1);
  await succeeds(root, "poweroff", one);
  await succeeds(root, "terminate", two);
  expect(await names(root)).toEqual(["m"]);
  await poll("the end of rests", () => (rest(root).every((each) => !each.includes("m-")) ? true : undefined));
  await succeeds(root, "poweroff", "m");
  await nothingLeft(root);
  const none = await root.berth("start", "-x", "nix");
  expect([none.status, none.stderr]).toEqual([1, expect.stringContaining("there is no machine nix")]);
});

test("berth run -x takes a name of its own while the machine itself runs, however long that one's is", async () => {
  await using root = berthRoot();
  const name = "m".repeat(64);
  await shellMachine(root, name, ENDLESS, "[Exec]\nEnvironment=OF=m");
  const run = [
    "run",
    "-q",
    "--pipe",
    "-M",
    name,
    "-x",
    "--",
    "/bin/sh",
    "-c",
    "echo $OF; cat /proc/sys/kernel/hostname; echo >/etc/mark",
  ];
  expect(await succeeds(root, ...run)).toBe(`m\n${name}\n`);
  await succeeds(root, "start", name);
  expect(await succeeds(root, ...run)).toMatch(/^m\nm{55}-[0-9a-f]{8}\n$/);
  expect(await names(root)).toEqual([name]);
  expect((await root.berth("exec", name, "--", "cat", "/etc/mark")).status).toBe(1);
  const refused = await root.berth("run", "-M", name, "--", "true");
  expect([refused.status, refused.stderr]).toEqual([125, expect.stringContaining("is running already")]);
  await succeeds(root, "poweroff", name);
});

test("a reboot keeps its changes; a daemon that is killed, however it ends meanwhile, leaves nothing", async () => {
  await using root = berthRoot();
  await shellMachine(root, "m");
  const name = (await succeeds(root, "start", "-x", "m")).trimEnd();
  await succeeds(root, "exec", name, "--", "sh", "-c", "echo kept >/etc/mark");
  const first = root.record(name);
  await root.berth("exec", name, "--", "/probe", "reboot", "restart");
  await root.recordWhen(name, ({ leader, ready: up }) => up && leader.startTime !== first?.leader.startTime);
  await killDaemon(root);
  await succeeds(root, "daemon", "start").catch(() => undefined);
  expect(await names(root)).toEqual([name]);
  expect(await succeeds(root, "exec", name, "--", "cat", "/etc/mark")).toBe("kept\n");
  const second = root.record(name);
  await root.berth("exec", name, "--", "/probe", "reboot", "restart");
  await root.recordWhen(name, ({ leader, ready: up }) => up && leader.startTime !== second?.leader.startTime);
  expect(await succeeds(root, "exec", name, "--", "cat", "/etc/mark")).toBe("kept\n");

  const other = (await succeeds(root, "start", "-x", "m")).trimEnd();
  await killDaemon(root);
  await root.berth("exec", other, "--", "/probe", "reboot", "poweroff");
  await root.berth("daemon", "start");
  expect(await names(root)).toEqual([name]);
  await succeeds(root, "poweroff", name);
  expect(await names(root)).toEqual([]);
  await nothingLeft(root);
});

test("one that fails to start says why, and nothing of it is left", async () => {
  await using root = berthRoot();
  await shellMachine(root, "m", "echo last words; exit 3", "[Exec]\nNotifyReady=yes");
  const { status, stderr } = await root.berth("start", "-x", "m");
  expect([status, stderr]).toEqual([
    1,
    expect.stringMatching(/machine m-[0-9a-f]{8}: its PID 1 exited with status 3\n.*last words/),
  ]);
  expect(await names(root)).toEqual([]);
  await nothingLeft(root);
});
