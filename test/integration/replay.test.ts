/** `berth replay`: a shell in a machine whose start failed, as far as it was built by then. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { BERTH, type BerthRoot, berthRoot, buildBerth, poll } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { openTerminal } from "../lib/pty.ts";
import { needs } from "../lib/requires.ts";
import { ENDLESS, shellMachine } from "../lib/shell-machine.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:setsid");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

/** /x in the tree is a file, and no place for a directory; what is mounted comes in the order of its names. */
const FAILING = "TemporaryFileSystem=/aaa:size=1m\nBind=/tmp:/x/y\nTemporaryFileSystem=/zzz:size=1m\n";

async function failingMachine(root: BerthRoot, more = ""): Promise<void> {
  const tree = await shellMachine(root, "m", ENDLESS, FAILING + more);
  writeFileSync(join(tree, "x"), "");
}

interface Planned {
  readonly steps: readonly { readonly index: number; readonly describe: string; readonly kind: string }[];
}

async function stepOf(root: BerthRoot, text: string): Promise<number> {
  const { steps } = JSON.parse((await root.berth("plan", "m", "--json")).stdout) as Planned;
  const found = steps.find(({ describe: what }) => what.includes(text));
  if (found === undefined) throw new Error(`no step ${text}`);
  return found.index;
}

function replay(root: BerthRoot, ...words: string[]) {
  return root.berth("replay", "m", ...words);
}

describe.each([
  ["with ids of its own", ""],
  ["with the host's ids", "[Exec]\nPrivateUsers=no\n"],
])("%s", (_, users) => {
  test("what was done before the step that failed is there, what comes after is not; all is undone", async () => {
    await using root = berthRoot();
    await failingMachine(root, users);
    const start = await root.berth("start", "m");
    expect(start.stderr).toMatch(/failed at step #\d+ keeper \(attach bind:1 on \/x\/y/);
    const script = "grep -cE ' /(aaa|zzz) ' /proc/self/mounts; ls -d /aaa /zzz; echo $container $$; exit 7";
    const { status, stdout, stderr } = await replay(root, "--", "sh", "-c", script);
    expect(stderr).toMatch(
      /^berth: replaying the start of m up to step #\d+ keeper \(attach bind:1 on \/x\/y .*\)\nberth: this step and \d+ after it are left out: .*\n/m,
    );
    expect(stdout).toBe("1\n/aaa\nberth 1\n");
    expect(status).toBe(7);
    expect(root.leftovers()).toEqual([]);
    // It is no boot of the machine, and its failure is still known.
    const why = await root.berth("why", "m");
    expect(why.stdout).toMatch(/attach bind:1 on \/x\/y/);
    expect(why.stdout).toContain("\nhint: berth replay m opens a shell in it, as far as it was built by then\n");
    expect((await root.berth("boot", "m")).stderr).toMatch(/has not run since the host's boot/);
  });

  test("what runs there is confined as the machine would be", async () => {
    await using root = berthRoot();
    await shellMachine(root, "m", ENDLESS, `TemporaryFileSystem=/zzz\n${users}`);
    const status = (text: string): readonly string[] =>
      text.split("\n").filter((line) => /^(Cap(Bnd|Eff|Prm)|Seccomp|NoNewPrivs):/.test(line));
    expect((await root.berth("start", "m")).status).toBe(0);
    const whole = status((await root.berth("exec", "m", "--", "cat", "/proc/1/status")).stdout);
    expect((await root.berth("poweroff", "m")).status).toBe(0);
    const { stdout } = await replay(
      root,
      "--until",
      String(await stepOf(root, "attach tmpfs:0")),
      "-q",
      "--",
      "cat",
      "/proc/self/status",
    );
    expect(status(stdout)).toEqual(whole);
    expect(whole.length).toBe(5);
    const script =
      'for each in kallsyms keys; do grep -c " /proc/$each " /proc/self/mountinfo; done; cat /proc/keys 2>/dev/null';
    const covers = await replay(
      root,
      "--until",
      String(await stepOf(root, "attach tmpfs:0")),
      "-q",
      "--",
      "sh",
      "-c",
      script,
    );
    expect(covers.stdout).toBe("1\n1\n");
  });
});

test("on a terminal: a shell, whose end gives the terminal back", async () => {
  await using root = berthRoot();
  await failingMachine(root);
  expect((await root.berth("start", "m")).status).toBe(1);
  await using terminal = openTerminal({ rows: 24, columns: 100 });
  const before = terminal.modes();
  const { end } = terminal.spawn([BERTH, "replay", "m"], root.env);
  await terminal.until(/left out/);
  await poll("a raw terminal", () => (terminal.flags().canonical ? undefined : true)).catch((error: Error) => {
    throw new Error(`${error.message}: ${terminal.output}`);
  });
  await sleep(200);
  terminal.type("tty; ls -d /aaa /zzz 2>/dev/null; echo in-$((40+2))\r");
  await terminal.until(/\/dev\/(console|pts\/\d+)\r\n\/aaa\r\nin-42/);
  terminal.type("exit 5\r");
  expect(await end).toEqual({ status: 5, signal: null });
  expect(terminal.modes()).toBe(before);
  expect(root.leftovers()).toEqual([]);
});

test("a shell can't be where nothing is yet, and this is said, as is what is no step", async () => {
  await using root = berthRoot();
  writeFileSync(join(await shellMachine(root, "m"), "x"), "");
  const fails = async (...words: string[]) => {
    const { status, stderr } = await replay(root, ...words);
    return [status, stderr.split("\n")[0]];
  };
  expect(await fails()).toEqual([125, "berth: no start of machine m by berthd is known to have failed at a step"]);
  const clone = await stepOf(root, "clone init");
  expect(await fails("--until", String(clone))).toEqual([
    125,
    expect.stringMatching(`^berth: nobody can be in machine m without step #${clone} keeper \\(clone init .*\\), or `),
  ]);
  expect(await fails("--until=9999")).toEqual([2, "berth: --until=9999 is no step of the plan"]);
  expect(await fails("--until=x")).toEqual([2, "berth: --until=x is no number of a step"]);

  // What failed has been put right meanwhile.
  root.settings("m", `[Files]\nBindReadOnly=/usr\n${FAILING}`);
  expect((await root.berth("start", "m")).status).toBe(1);
  root.settings("m", "[Files]\nBindReadOnly=/usr\n");
  expect(await fails()).toEqual([
    125,
    expect.stringMatching(/^berth: the step that failed, #\d+ keeper .* is none of its start any more/),
  ]);

  // A machine that runs is left alone.
  expect((await root.berth("start", "m")).status).toBe(0);
  expect(await fails("--until", String(await stepOf(root, "hostname")), "-q")).toEqual([
    125,
    expect.stringMatching(/m.* (in use|is running|already|locked)/),
  ]);
  expect((await root.berth("poweroff", "m")).status).toBe(0);
});

test("each step that can be left out is, one after the other, and nothing is left behind", async () => {
  await using root = berthRoot();
  await shellMachine(root, "m", ENDLESS, "TemporaryFileSystem=/zzz\nInaccessible=/mnt\n");
  const { steps } = JSON.parse((await root.berth("plan", "m", "--json")).stdout) as Planned;
  const kinds = new Set([
    "clone-tree",
    "notify-socket",
    "make-file-system",
    "mount-tmpfs",
    "write-file",
    "attach",
    "cover",
    "set-limit",
    "execute",
  ]);
  const seen = new Set<string>();
  for (const { index, kind, describe: what } of steps) {
    if (!kinds.has(kind) || seen.has(kind + what.split(" ")[1])) continue;
    seen.add(kind + what.split(" ")[1]);
    const { status, stderr } = await replay(root, `--until=${index}`, "-q", "--", "/probe", "exit", "3");
    if (status !== 3)
      expect([what, status, stderr]).toEqual([
        what,
        125,
        expect.stringMatching(/^berth: nobody can be in machine m without step /),
      ]);
    expect(root.leftovers()).toEqual([]);
  }
  expect(seen.size).toBeGreaterThan(12);
});
