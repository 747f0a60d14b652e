/** `berth exec` and `berth shell`: commands that join a running machine. */
import { randomBytes } from "node:crypto";
import { readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BERTH, type BerthRoot, berthRoot, buildBerth, type End, poll, type Running } from "../lib/berth.ts";
import { interview } from "../lib/interview.ts";
import { checkLeaks, openFds } from "../lib/leaks.ts";
import { parseProbe, probe, probeTree } from "../lib/probe.ts";
import { openTerminal, untilSized } from "../lib/pty.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:setsid");

let root: BerthRoot;
let machine: Running;

/** One machine for all tests. It has the host's programs in /usr, so that there is a shell. */
beforeAll(async () => {
  if (!ready) return;
  buildBerth();
  root = berthRoot();
  const tree = await probeTree({ at: join(root.machines, "m"), init: true });
  for (const name of ["bin", "lib", "lib64"]) symlinkSync(`usr/${name}`, join(tree, name));
  machine = root.start("run", "-q", "-M", "m", "-b", "--console=read-only", "--bind-ro=/usr", "--", "--term");
  await machine.until(/^up/m);
  await root.recordWhen("m");
});

afterAll(async () => {
  if (!ready) return;
  machine.kill();
  expect((await machine.end).status).toBe(0);
  await root[Symbol.asyncDispose]();
});

checkLeaks();

function exec(...words: readonly string[]): Promise<End> {
  return root.berth("exec", "m", "--", ...words);
}

describe("the exit status", () => {
  test.each([0, 7, 255])("%i is the command's", async (status) => {
    expect(await exec(...probe("exit", String(status)))).toEqual({ status, signal: null, stdout: "", stderr: "" });
  });

  test.each([9, 15, 6])("is 128+%i when that signal killed it", async (signal) => {
    expect((await exec(...probe("signal", String(signal)))).status).toBe(128 + signal);
  });

  test("is 127 for a program that is not there, 126 for one that cannot run", async () => {
    const missing = await exec("/no/such/program");
    expect(missing).toMatchObject({ status: 127, stdout: "" });
    expect(missing.stderr).toMatch(/^berth: entering m failed at .*ENOENT.*\nhint: .*\n$/);
    expect((await exec("no-such-program")).status).toBe(127);
    expect((await exec("/etc/os-release")).status).toBe(126);
  });

  test("is 125 for a machine that does not run, which is named with the nearest one", async () => {
    const end = await root.berth("exec", "n", "--", ...probe("cwd"));
    expect(end).toMatchObject({ status: 125, stdout: "" });
    expect(end.stderr).toBe('berth: no machine "n" is running\nhint: did you mean m?\n');
  });
});

test("options may stand behind the machine's name: they end where the command begins, or at --", async () => {
  const of = (...words: readonly string[]): Promise<End> => root.berth("exec", "m", ...words);
  const echo = ["sh", "-c", "echo $A $PWD $*", "sh"];
  for (const words of [
    ["--cwd", "/usr", "-EA=b", "--", ...echo, "-t"],
    ["--cwd=/usr", "-E", "A=b", ...echo, "-t"],
  ])
    expect(await of(...words)).toMatchObject({ status: 0, stdout: "b /usr -t\n", stderr: "" });
  expect((await of("-t", "--", "tty")).stdout).toMatch(/^\/dev\/pts\//);
  expect(await of("--", "--user=nobody")).toMatchObject({ status: 127 });
  for (const words of [["-x"], ["--usr=root", "--", "id"]]) {
    const { status, stdout, stderr } = await of(...words);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(/^berth: unknown option '--?\w+'\nhint: (before a command that begins|did you mean --user)/);
  }
});

test("stdout and stderr are the command's own and apart, and programs are found in the machine's PATH", async () => {
  const { status, stdout, stderr } = await exec("sh", "-c", "echo out; echo err >&2; exit 5");
  expect({ status, stdout, stderr }).toEqual({ status: 5, stdout: "out\n", stderr: "err\n" });
});

test("eight megabytes of random bytes go through both ways, and the end of stdin is seen", async () => {
  const input = randomBytes(8 << 20);
  await using child = root.spawn([BERTH, "exec", "m", "--", ...probe("echo")], { input });
  expect((await child.end).status).toBe(0);
  expect(child.bytes().equals(input)).toBe(true);
});

test.each([
  ["SIGTERM", 15],
  ["SIGINT", 2],
  ["SIGHUP", 1],
  ["SIGQUIT", 3],
] as const)("%s is passed on to the command", async (name, number) => {
  await using child = root.start("exec", "m", "--", ...probe("cwd", "--", "sleep", "100000"));
  await child.until(/cwd/);
  child.kill(name);
  expect((await child.end).status).toBe(128 + number);
});

test("killing berth kills the command", async () => {
  await using child = root.start("exec", "m", "--", ...probe("cwd", "--", "sleep", "100000"));
  await child.until(/cwd/);
  expect(commands()).toHaveLength(1);
  child.kill("SIGKILL");
  await child.end;
  await poll("the end of the command", () => (commands().length === 0 ? true : undefined));
});

/** Processes of the machine besides its init, by host pid. */
function commands(): string[] {
  const { cgroup, leader } = root.record("m") ?? { cgroup: "", leader: { pid: 0 } };
  const all = readFileSync(join(cgroup, "payload/cgroup.procs"), "utf8").split("\n").filter(Boolean);
  return all.filter((pid) => Number(pid) !== leader.pid);
}

describe("what a command is given", () => {
  const KINDS = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
  /** Lines of proc_pid_status(5) that say what a process may do. */
  const RIGHTS = /^(Uid|Gid|Groups|Umask|Cap\w+|NoNewPrivs|Seccomp|Seccomp_filters):.*$/gm;

  test("is what its init has: namespaces, ids, capabilities, filter, limits, cgroup, root", async () => {
    const talk = interview<string>({
      ...Object.fromEntries(KINDS.map((kind) => [`init's ${kind}`, ["stat", `/proc/1/ns/${kind}`]])),
      namespaces: ["namespaces"],
      status: ["cat", "/proc/self/status"],
      initStatus: ["cat", "/proc/1/status"],
      limits: ["cat", "/proc/self/limits"],
      initLimits: ["cat", "/proc/1/limits"],
      cgroup: ["cat", "/proc/self/cgroup"],
      initCgroup: ["cat", "/proc/1/cgroup"],
      mounts: ["cat", "/proc/self/mountinfo"],
      initMounts: ["cat", "/proc/1/mountinfo"],
      keyring: ["keyring"],
    });
    const answers = talk.answers((await exec(...talk.command)).stdout);
    for (const kind of KINDS)
      expect(answers.line("namespaces")[kind], kind).toBe(answers.line(`init's ${kind}`)["target"]);
    const rights = answers.text("status").match(RIGHTS);
    expect(rights).toEqual(answers.text("initStatus").match(RIGHTS));
    expect(rights).toEqual(expect.arrayContaining(["Seccomp:\t2", "NoNewPrivs:\t0", "Umask:\t0022"]));
    for (const name of ["limits", "cgroup", "mounts"])
      expect(answers.text(name), name).toBe(answers.text(`init${name.replace(/^./, (first) => first.toUpperCase())}`));
    expect(answers.text("cgroup")).toMatch(/^0::\/$/m);
    expect(answers.line("keyring")).toMatchObject({ session: -1, user: -1 });
  });

  test("is nothing of its caller: fds, environment, directory, signals, terminal, priority of its own making", async () => {
    const talk = interview({
      fds: ["fds"],
      env: ["env"],
      cwd: ["cwd"],
      signals: ["signals"],
      tty: ["tty"],
      process: ["process"],
      umask: ["umask"],
    });
    const spoil = `trap '' PIPE HUP TERM INT USR1; umask 077; cd /usr; exec 7</etc 8</etc/shadow "$@"`;
    const words = [BERTH, "exec", "m", "--", ...talk.command];
    const { stdout } = await root.spawn(["sh", "-c", spoil, "sh", ...words], { env: { LD_PRELOAD: "", LANG: "xx" } })
      .end;
    const answers = talk.answers(stdout);
    expect(Object.keys(answers.line("fds")["fds"] as object)).toEqual(["0", "1", "2"]);
    expect(answers.line("env")["env"]).toEqual({
      PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      HOME: "/root",
      USER: "root",
      LOGNAME: "root",
      LANG: "C.UTF-8",
      container: "berth",
    });
    expect(answers.line("cwd")["cwd"]).toBe("/");
    expect(answers.line("umask")["umask"]).toBe(0o022);
    expect(answers.line("signals")).toMatchObject({ blocked: "0", ignored: "0", caught: "0" });
    expect(answers.line("tty")).toMatchObject({ isatty: [false, false, false], controlling: false });
    const { pid, sid, ppid, dumpable, nice, oomScoreAdj } = answers.line("process");
    const usual = { ppid: 0, dumpable: 1, nice: 0, oomScoreAdj: "0", leads: true };
    expect({ ppid, dumpable, nice, oomScoreAdj, leads: pid === sid }).toEqual(usual);
  });

  test("who watches all that appears inside gets hold of nothing that enters (CVE-2016-9962, CVE-2019-5736)", async () => {
    const watch = [
      "while :; do for p in /proc/[0-9]*; do [ $p = /proc/$$ ] ||",
      'for l in $p/exe $p/root $p/cwd $p/fd/*; do t=$(readlink $l) && echo "$t"; done; done; done 2>/dev/null',
    ].join(" ");
    await using thief = root.start("exec", "m", "--", "/bin/sh", "-c", watch);
    await thief.until(/\/probe|sh\n/);
    for (let round = 0; round < 25; round++) await Promise.all(Array.from({ length: 4 }, () => exec(...probe("cwd"))));
    const seen = new Set(thief.stdout.trim().split("\n"));
    const known = /^(\/|(\/usr)?\/bin\/\S*|\/probe|\/dev\/null|\/dev\/console|pipe:\[\d+\]|\/dev\/pts\/\d+)$/;
    expect([...seen].filter((link) => !known.test(link))).toEqual([]);
    expect(seen.size).toBeGreaterThan(2);
  });

  test("its executable is the machine's program: the way in leaves nothing of the host to get hold of", async () => {
    await using child = root.start("exec", "m", "--", ...probe("process", "--", "sleep", "100000"));
    await child.until(/"verb":"process"/);
    const pid = parseProbe(child.stdout, "process")["pid"];
    const talk = interview({
      exe: ["stat", `/proc/${pid}/exe`],
      root: ["stat", `/proc/${pid}/root`],
      all: ["ls", "/proc"],
    });
    const answers = talk.answers((await exec(...talk.command)).stdout);
    expect(answers.line("exe")["target"]).toBe("/probe");
    expect(answers.line("root")["target"]).toBe("/");
    // Its init, the two commands, and no keeper or joiner.
    const pids = (answers.line("all")["names"] as string[]).filter((name) => /^\d+$/.test(name));
    expect(pids).toHaveLength(3);
    child.kill();
    await child.end;
  });

  test("is out of the other commands' and its init's way: nothing escapes from it", async () => {
    const { stdout } = await exec(...probe("escape"));
    expect(stdout).not.toContain("ESCAPED");
    expect(stdout).toMatch(/^escape: \d+ held, 0 escaped/m);
  });
});

test("a script whose interpreter is /proc/self/exe gets hold of no file of the host", async () => {
  const { keeper } = root.record("m") ?? { keeper: { pid: 0 } };
  expect(readlinkSync(`/proc/${keeper.pid}/exe`)).toMatch(/^\/memfd:berth-stage /);
  expect(readFileSync(`/proc/${keeper.pid}/comm`, "utf8")).toBe("berth-keeper\n");
  const tree = join(root.machines, "m");
  writeFileSync(join(tree, "script"), "#!/proc/self/exe\n", { mode: 0o755 });
  // What it executes is the stage, which has nothing to take over there.
  expect((await exec("/script")).status).toBe(126);
  rmSync(join(tree, "script"));
});

test.each([["--private-users=no"], ["--host-network"], ["--private-users=identity"]])(
  "a machine with %s can be entered",
  async (option) => {
    const options = ["-q", "-x", "-D", await probeTree(), "-M", "weak", "--console=read-only", option];
    await using child = root.start("run", ...options, "--", ...probe("init", "--term"));
    await child.until(/^up/m);
    await root.recordWhen("weak");
    const kinds = ["user", "net", "pid", "mnt"];
    const talk = interview<string>({
      namespaces: ["namespaces"],
      ids: ["ids"],
      ...Object.fromEntries(kinds.map((kind) => [`init's ${kind}`, ["stat", `/proc/1/ns/${kind}`]])),
    });
    const answers = talk.answers((await root.berth("exec", "weak", "--", ...talk.command)).stdout);
    for (const kind of kinds)
      expect(answers.line("namespaces")[kind], kind).toBe(answers.line(`init's ${kind}`)["target"]);
    expect(answers.line("ids")).toMatchObject({ uid: 0, seccomp: 2 });
    child.kill();
    expect((await child.end).status).toBe(0);
  },
);

test("a command ends with its machine", async () => {
  const options = ["-D", await probeTree(), "-M", "short", "--console=read-only"];
  await using child = root.start("run", ...options, "--", ...probe("init", "--term"));
  await child.until(/^up/m);
  await root.recordWhen("short");
  await using inside = root.start("exec", "short", "--", ...probe("cwd", "--", "sleep", "100000"));
  await inside.until(/cwd/);
  child.kill();
  expect((await child.end).status).toBe(0);
  expect((await inside.end).status).toBe(137);
});

test("fifty commands leave no process and no fd behind", async () => {
  const before = [machine.pid, root.record("m")?.keeper.pid ?? -1].map((pid) => openFds(pid).length);
  for (let round = 0; round < 5; round++) {
    const ends = await Promise.all(Array.from({ length: 10 }, (_, i) => exec(...probe("exit", String(i)))));
    expect(ends.map(({ status }) => status)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  }
  expect(commands()).toEqual([]);
  expect([machine.pid, root.record("m")?.keeper.pid ?? -1].map((pid) => openFds(pid).length)).toEqual(before);
});

describe("on a terminal", () => {
  const enter = (words: readonly string[]) => [BERTH, ...words];

  test("--tty gives a terminal of the machine's own with the caller's size, which follows it; modes are put back", async () => {
    await using terminal = openTerminal({ rows: 40, columns: 100 });
    const before = terminal.modes();
    const { end } = terminal.spawn(
      enter(["exec", "--tty", "m", "--", ...probe("tty", "--", "env", "--", "echo", "--", "tty")]),
      root.env,
    );
    await terminal.until(/"verb":"env"/);
    await poll("a raw terminal", () => (terminal.flags().canonical ? undefined : true));
    terminal.resize({ rows: 20, columns: 50 });
    await untilSized((await root.recordWhen("m")).leader.pid, { rows: 20, columns: 50 });
    terminal.type("\x04");
    expect(await end).toEqual({ status: 0, signal: null });
    const [first, env, second] = parseProbe(terminal.output);
    const own = { isatty: [true, true, true], controlling: true, echo: true, canonical: true };
    expect(first).toMatchObject({ ...own, rows: 40, columns: 100 });
    expect(String(first?.["names"])).toMatch(/^\/dev\/pts\/[1-9]/);
    expect(env?.["env"]).toMatchObject({ TERM: "vt220" });
    expect(second).toMatchObject({ rows: 20, columns: 50 });
    expect(terminal.modes()).toBe(before);
  });

  test("^C interrupts the command, and a command that is killed gives the terminal back", async () => {
    await using terminal = openTerminal();
    const before = terminal.modes();
    const { end } = terminal.spawn(
      enter(["exec", "-t", "m", "--", ...probe("cwd", "--", "sleep", "100000")]),
      root.env,
    );
    await terminal.until(/cwd/);
    await poll("a raw terminal", () => (terminal.flags().canonical ? undefined : true));
    terminal.type("\x03");
    expect(await end).toEqual({ status: 130, signal: null });
    expect(terminal.modes()).toBe(before);
  });

  test("a job left in the background does not hold the command up", async () => {
    await using terminal = openTerminal();
    const script = "/probe sleep 3000 & echo started; exit 3";
    const { end } = terminal.spawn(enter(["exec", "-t", "m", "--", "sh", "-c", script]), root.env);
    expect(await end).toEqual({ status: 3, signal: null });
    expect(terminal.output).toContain("started");
    await poll("the end of the job", () => (commands().length === 0 ? true : undefined));
  });

  test("a terminal that is hung up ends the command", async () => {
    await using terminal = openTerminal();
    const { end } = terminal.spawn(
      enter(["exec", "-t", "m", "--", ...probe("cwd", "--", "sleep", "100000")]),
      root.env,
    );
    await terminal.until(/cwd/);
    await poll("a raw terminal", () => (terminal.flags().canonical ? undefined : true));
    terminal.hangUp();
    await end;
    await poll("the end of the command", () => (commands().length === 0 ? true : undefined));
  });

  test("shell is a login shell with the keyboard, and its exit status is berth's", async () => {
    await using terminal = openTerminal();
    const before = terminal.modes();
    const { end } = terminal.spawn(enter(["shell", "m"]), root.env);
    await terminal.until(/# $/);
    terminal.type("echo $0 $((6 * 7)); tty; exit 4\r");
    expect(await end).toEqual({ status: 4, signal: null });
    expect(terminal.output).toMatch(/-(ba)?sh 42\r\n\/dev\/pts\/\d+\r\n/);
    expect(terminal.modes()).toBe(before);
  });

  test("what comes on a stdin that is none is typed, and its end", async () => {
    const { end } = root.spawn([BERTH, "shell", "m", "sh", "-c", "stty -echo; tty; cat; exit 3"]);
    expect(await end).toMatchObject({ status: 3, stdout: expect.stringMatching(/^\/dev\/pts\/\d+\r\n$/), stderr: "" });
    const { status, stdout } = await root.spawn([BERTH, "exec", "-t", "m", "cat"], { input: "one" }).end;
    expect([status, stdout]).toEqual([0, "one\r\none\r\n"]);
  });
});

test("the host's own terminal is out of a command's reach", async () => {
  await using terminal = openTerminal();
  const { end } = terminal.spawn([BERTH, "exec", "m", "--", ...probe("tty", "--", "tiocsti")], root.env);
  expect(await end).toEqual({ status: 1, signal: null });
  const [tty, tiocsti] = parseProbe(terminal.output);
  expect(tty).toMatchObject({ isatty: [false, false, false], controlling: false });
  expect(tiocsti?.error).toMatch(/ENOTTY|EPERM/);
});
