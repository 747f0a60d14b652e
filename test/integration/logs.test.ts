/** `berth logs`: what a machine said on its console, of the boot that runs and of earlier ones. */
import { readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type BerthRoot, berthRoot, buildBerth, poll } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

/** Its init is the host's shell, which runs this script. */
async function makeMachine(root: BerthRoot, script: string): Promise<void> {
  const tree = await probeTree({ at: join(root.machines, "m") });
  for (const name of ["bin", "lib", "lib64"]) symlinkSync(`usr/${name}`, join(tree, name));
  root.settings("m", "[Files]\nBindReadOnly=/usr");
  changeInit(root, script);
}

function changeInit(root: BerthRoot, script: string): void {
  writeFileSync(join(root.machines, "m/sbin/init"), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
}

async function start(root: BerthRoot): Promise<void> {
  expect(await root.berth("start", "m")).toMatchObject({ status: 0, stderr: "" });
}

async function logs(root: BerthRoot, ...words: string[]): Promise<string> {
  const { status, stdout, stderr } = await root.berth("logs", "m", ...words);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return stdout;
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z /gm;
/** Says what a systemd would, and more. */
const TALK = "printf 'one\\n\\033[32mtwo\\033[0m\\n1%%\\r99%%\\nbell \\007\\nlast'; exec sleep 100000";

test("lines come with their times and without what acts on a terminal; --raw and --json as they were said", async () => {
  await using root = berthRoot();
  await makeMachine(root, TALK);
  await start(root);
  await poll("the last line", () => (root.consoleLog("m").includes("last") ? true : undefined));
  const text = await logs(root);
  expect(text.match(TIME)).toHaveLength(5);
  expect(text.replace(TIME, "")).toBe("one\ntwo\n99%\nbell \\u{7}\nlast\n");
  expect((await logs(root, "-n", "2")).replace(TIME, "")).toBe("bell \\u{7}\nlast\n");
  expect(await logs(root, "-n", "0")).toBe("");
  expect(await logs(root, "--raw", "--lines=2")).toBe("bell \x07\r\nlast");
  expect(await logs(root, "--raw")).toBe("one\r\n\x1b[32mtwo\x1b[0m\r\n1%\r99%\r\nbell \x07\r\nlast");
  const lines: { time: string; text: string }[] = JSON.parse(await logs(root, "--json"));
  expect(lines.map((line) => line.text)).toEqual(["one", "\x1b[32mtwo\x1b[0m", "1%\r99%", "bell \x07", "last"]);
  expect(Math.abs(Date.parse(lines[0]?.time ?? "") - Date.now())).toBeLessThan(60_000);
  expect((await root.berth("terminate", "m")).status).toBe(0);
});

test("earlier boots are kept, five of them, in the background and in the foreground", async () => {
  await using root = berthRoot();
  await makeMachine(root, "exit 0");
  for (let boot = 1; boot <= 7; boot++) {
    changeInit(root, `echo boot ${boot}; exit 0`);
    expect((await root.berth("run", "-q", "-M", "m", "-b", "--console=passive")).status).toBe(0);
  }
  changeInit(root, "echo boot 8; exec sleep 100000");
  await start(root);
  await poll("its word", () => root.consoleLog("m").includes("boot 8") || undefined);
  expect(await root.berth("daemon", "stop")).toMatchObject({ status: 0 }); // it is not needed
  expect(await logs(root, "--boot", "0")).toMatch(/ boot 8\n$/);
  expect(await logs(root, "-b-1")).toMatch(/ boot 7\n$/);
  expect(await logs(root, "--boot=-5")).toMatch(/ boot 3\n$/);
  expect(await root.berth("logs", "m", "-b", "-6")).toMatchObject({
    status: 1,
    stderr: "berth: boot -6 of machine m is not kept\nhint: these are: 0, -1, -2, -3, -4, -5\n",
  });
  expect((await root.berth("terminate", "m")).status).toBe(0);
  const { stdout, stderr } = await root.berth("logs", "m");
  expect(stdout).toMatch(/ boot 8\n$/);
  expect(stderr).toBe("berth: machine m does not run; this is its last boot\n");
});

test("neither commands nor throw-away machines are boots", async () => {
  await using root = berthRoot();
  await makeMachine(root, "exit 0");
  await root.run(join(root.machines, "m"), ["-M", "m"], probe("ids"));
  await root.berth("run", "-q", "-M", "m", "-x", "-b", "--console=passive");
  expect(await root.berth("logs", "m")).toMatchObject({
    status: 1,
    stderr: "berth: machine m has not run since the host's boot\nhint: berth start m boots it\n",
  });
});

describe("--follow", () => {
  test("shows the last lines, goes on over the log's rotation without losing any, and ends with the boot", async () => {
    await using root = berthRoot();
    // 3 MB: more than both files hold. Of no part is there more than half a file: a follower that is away loses what is rotated twice.
    const [parts, lines] = [8, 8000];
    await makeMachine(
      root,
      `trap 'exit 0' TERM; echo begin; i=0; for part in $(seq ${parts}); do
         while [ ! -e /go-$part ]; do sleep 0.05; done
         while [ $i -lt $((part * ${lines})) ]; do i=$((i+1)); echo "line $i of a log that is rotated meanwhile"; done
       done; exit 0`,
    );
    await using machine = root.start("run", "-q", "-M", "m", "-b", "--console=passive");
    await root.recordWhen("m");
    await using follower = root.start("logs", "-f", "m", "--raw");
    for (let part = 1; part <= parts; part++) {
      await follower.until(part === 1 ? /begin/ : new RegExp(`^line ${(part - 1) * lines} of`, "m"));
      writeFileSync(join(root.machines, `m/go-${part}`), "");
    }
    const { status, stdout } = await follower.end;
    expect(status).toBe(0);
    const numbers = [...stdout.matchAll(/^line (\d+) of/gm)].map(([, number]) => Number(number));
    expect(numbers.length).toBe(parts * lines);
    expect(numbers.every((number, index) => number === index + 1)).toBe(true);
    await machine.end;
    expect(readdirSync(join(root.path, "run/history/m/1"))).toContain("console.log.1");
  });

  test("gives an object a line with --json, and ends at ^C", async () => {
    await using root = berthRoot();
    await makeMachine(root, "for i in 1 2 3; do echo $i; done; exec sleep 100000");
    await start(root);
    await using follower = root.start("logs", "m", "-f", "-n", "2", "--json");
    await follower.until(/"3"/);
    follower.kill("SIGINT");
    const { status, stdout } = await follower.end;
    expect(status).toBe(0);
    expect(
      stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line).text),
    ).toEqual(["2", "3"]);
    expect((await root.berth("terminate", "m")).status).toBe(0);
    expect((await root.berth("logs", "-f", "m")).stderr).toMatch(
      /^berth: machine m does not run: nothing more comes of boot -1\nhint: berth logs m --boot=-1/,
    );
  });
});

test.each([
  [["logs", "m", "--boot=1"], 2, /^berth: --boot=1 is no boot\nhint: 0 is the one that runs/],
  [["logs", "m", "-n", "many"], 2, /^berth: --lines=many is no number of lines\n$/],
  [["logs", "m", "--raw", "--json"], 2, /exclude each other/],
  [["logs", "mm"], 1, /^berth: there is no machine "mm"\nhint: did you mean m\?\n$/],
  [["logs", "../m"], 2, /may not contain/],
])("%j fails with status %i", async (words, wanted, pattern) => {
  await using root = berthRoot();
  await makeMachine(root, "exit 0");
  const { status, stderr } = await root.berth(...words);
  expect(stderr).toMatch(pattern);
  expect(status).toBe(wanted);
});
