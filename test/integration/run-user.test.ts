/** Whom the payload and what joins a machine run as: User=, AmbientCapability=, berth exec -u, berth shell -u. */
import { chmodSync, cpSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { capabilityNumber } from "../../src/spec/capabilities.ts";
import { BERTH, type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { interview } from "../lib/interview.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { parseProbe, probe, probeTree } from "../lib/probe.ts";
import { openTerminal } from "../lib/pty.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();

beforeAll(() => {
  if (ready) buildBerth();
});

const PASSWD = `root:x:0:0::/root:/bin/sh
alice:x:1000:1001::/home/alice:/probe
bob:x:70000:70000::/:/bin/sh
`;
const GROUP = "tty:x:5:alice\nstaff:x:50:bob,alice\nalice:x:1001:\n";

async function userTree(root: BerthRoot, init = false): Promise<string> {
  const tree = await probeTree({ at: join(root.machines, "m"), init });
  writeFileSync(join(tree, "etc/passwd"), PASSWD);
  writeFileSync(join(tree, "etc/group"), GROUP);
  mkdirSync(join(tree, "home/alice"), { recursive: true });
  cpSync(join(tree, "probe"), join(tree, "suid"));
  chmodSync(join(tree, "suid"), 0o4755);
  return tree;
}

const ALICE = { uid: 1000, euid: 1000, suid: 1000, gid: 1001, egid: 1001, sgid: 1001, groups: [5, 50, 1001] };
const NONE = { effective: "0", permitted: "0", inheritable: "0", ambient: "0" };
const talk = interview({
  ids: ["ids"],
  env: ["env"],
  process: ["process"],
  cwd: ["cwd"],
  write: ["write", "/etc/x", "x"],
});

describe("User=", () => {
  test("User=alice: the payload has the user's ids, groups and environment, and no capability", async () => {
    await using root = berthRoot();
    await userTree(root);
    root.settings("m", "[Exec]\nUser=alice");
    const { stdout, stderr } = await root.berth("run", "-M", "m", "--pipe", "--", ...talk.command);
    expect(stderr).toBe("");
    const answers = talk.answers(stdout);
    expect(answers.line("ids")).toMatchObject({ ...ALICE, ...NONE, seccomp: 2, noNewPrivileges: false, securebits: 0 });
    const env = { HOME: "/home/alice", USER: "alice", LOGNAME: "alice", SHELL: "/probe" };
    expect(answers.line("env")["env"]).toMatchObject(env);
    // It still ends with its keeper, should that be killed.
    expect(answers.line("process")).toMatchObject({ pid: 1, pdeathsig: 9 });
    expect(answers.line("cwd")["cwd"]).toBe("/");
    expect(answers.line("write").error).toBe("EACCES");
  });

  test("--user=1000, -u 4242: numbers, with an entry and without", async () => {
    await using root = berthRoot();
    await userTree(root);
    const ids = async (...words: string[]) =>
      talk.answers((await root.berth("run", "-M", "m", "--pipe", ...words, "--", ...talk.command)).stdout);
    expect((await ids("--user=1000")).line("ids")).toMatchObject(ALICE);
    const number = await ids("-u", "4242");
    expect(number.line("ids")).toMatchObject({ uid: 4242, gid: 4242, groups: [4242], ...NONE });
    expect(number.line("env")["env"]).toMatchObject({ HOME: "/", USER: "4242" });
  });

  test("User= and WorkingDirectory=: a directory that the user may not enter is an error", async () => {
    await using root = berthRoot();
    const tree = await userTree(root);
    chmodSync(join(tree, "root"), 0o700);
    const path = root.settings("m", "[Exec]\nUser=alice\nWorkingDirectory=/root");
    const { status, stderr } = await root.berth("run", "-M", "m", "--pipe", "--", ...probe("cwd"));
    expect(status).toBe(125);
    expect(stderr).toContain(`chdir /root: EACCES: permission denied [${path}:3]`);
  });

  test("User=: a shell begins at home, and /dev/console is the user's own", async () => {
    await using root = berthRoot();
    const tree = await userTree(root);
    mkdirSync(join(tree, "bin"));
    symlinkSync("../probe", join(tree, "bin/bash"));
    // The probe without arguments fails: what counts is where and as whom it was started.
    const { stdout } = await root.berth(
      "run",
      "-M",
      "m",
      "-u",
      "alice",
      "--console=read-only",
      "--",
      ...probe("stat", "/dev/console"),
    );
    expect(parseProbe(stdout, "stat")).toMatchObject({ uid: 1000, gid: 5 });
    const { stdout: plan } = await root.berth("plan", "-M", "m", "-u", "alice");
    expect(plan).toContain("change to the directory /home/alice");
  });

  test.each([
    ["User=alcie", /User=alcie: .*\/m has no user alcie\nhint: did you mean alice\?\n/],
    ["User=mallory", /User=mallory: .*\/m has no user mallory\nhint: it has alice, root, bob\n/],
    ["User=bob", /User=bob: id 70000 is beyond the machine's own/],
    ["User=alice\nBoot=yes", /an init is run by root, not by user "alice"/],
  ])("%j is refused before anything is made", async (lines, message) => {
    await using root = berthRoot();
    await userTree(root, true);
    const path = root.settings("m", `[Exec]\n${lines}`);
    const { status, stdout, stderr } = await root.berth("run", "-M", "m", "--pipe");
    expect([status, stdout]).toEqual([125, ""]);
    expect(stderr).toMatch(message);
    expect(stderr).toContain(`${path}:2:6: `);
  });
});

describe("a program with the set-user-ID bit", () => {
  const run = async (root: BerthRoot, ...words: string[]) =>
    parseProbe((await root.berth("run", "-M", "m", "--pipe", ...words, "--", "/suid", "ids")).stdout, "ids");

  test("NoNewPrivileges=yes: gains nothing, also for what joins; and without, root", async () => {
    await using root = berthRoot();
    await userTree(root, true);
    expect(await run(root, "-u", "alice")).toMatchObject({ uid: 1000, euid: 0 });
    expect(await run(root, "-u", "alice", "--no-new-privileges=yes")).toMatchObject({ uid: 1000, euid: 1000, ...NONE });

    root.settings("m", "[Exec]\nNoNewPrivileges=yes");
    await using machine = root.start("run", "-M", "m", "--console=read-only", "--", "/sbin/init", "--term");
    await machine.until(/^up/m);
    await root.recordWhen("m");
    const joined = await root.berth("exec", "-u", "alice", "m", "--", "/suid", "ids");
    expect(parseProbe(joined.stdout, "ids")).toMatchObject({ uid: 1000, euid: 1000, noNewPrivileges: true });
    machine.kill();
    await machine.end;
  });
});

describe("AmbientCapability=", () => {
  const bits = (...names: string[]): string =>
    names.reduce((mask, name) => mask | (1n << BigInt(capabilityNumber(name) ?? 0)), 0n).toString(16);

  test("AmbientCapability=, --ambient-capability: what a user's command starts with, and its children", async () => {
    await using root = berthRoot();
    await userTree(root);
    root.settings("m", "[Exec]\nUser=alice\nAmbientCapability=CAP_DAC_OVERRIDE");
    const words = ["--ambient-capability=CAP_NET_RAW,CAP_KILL"];
    const { stdout } = await root.berth("run", "-M", "m", "--pipe", ...words, "--", ...talk.command);
    const answers = talk.answers(stdout);
    const wanted = bits("CAP_DAC_OVERRIDE", "CAP_NET_RAW", "CAP_KILL");
    const sets = { effective: wanted, permitted: wanted, inheritable: wanted, ambient: wanted };
    expect(answers.line("ids")).toMatchObject({ ...ALICE, ...sets });
    expect(answers.line("write").error).toBe(undefined);
  });

  test("AmbientCapability=: beyond the machine's own is an error, for root a warning", async () => {
    await using root = berthRoot();
    await userTree(root);
    const path = root.settings("m", "[Exec]\nAmbientCapability=CAP_KILL");
    const warned = await root.berth("run", "-M", "m", "--pipe", "--", ...probe("ids"));
    expect(warned.stderr).toMatch(new RegExp(`${path}:2:\\d+: warning: root has the machine's capabilities anyway`));
    expect(parseProbe(warned.stdout, "ids")).toMatchObject({ uid: 0, ambient: bits("CAP_KILL") });
    root.settings("m", "[Exec]\nUser=alice\nAmbientCapability=CAP_SYS_TIME");
    const refused = await root.berth("run", "-M", "m", "--pipe", "--", ...probe("ids"));
    expect(refused.stderr).toMatch(new RegExp(`${path}:3:\\d+: the machine does not have CAP_SYS_TIME itself`));
  });
});

describe("in a machine that runs", () => {
  test("exec -u: by name and number, with the user's home, and none of root's rights", async () => {
    await using root = berthRoot();
    await userTree(root, true);
    await using machine = root.start("run", "-M", "m", "-b", "--console=read-only", "--", "--term");
    await machine.until(/^up/m);
    await root.recordWhen("m");
    for (const user of ["alice", "1000"]) {
      const { stdout, stderr } = await root.berth("exec", "-u", user, "m", "--", ...talk.command);
      expect(stderr).toBe("");
      const answers = talk.answers(stdout);
      expect(answers.line("ids")).toMatchObject({ ...ALICE, ...NONE, seccomp: 2 });
      expect(answers.line("env")["env"]).toMatchObject({ HOME: "/home/alice", USER: "alice", SHELL: "/probe" });
      expect(answers.line("cwd")["cwd"]).toBe("/home/alice");
      expect(answers.line("write").error).toBe("EACCES");
    }
    const missing = await root.berth("exec", "--user=nobody", "m", "--", ...probe("ids"));
    expect(missing).toMatchObject({ stdout: "", status: 125 });
    expect(missing.stderr).toMatch(/^berth: machine m: .* has no user nobody\nhint: it has alice, root, bob\n$/);
    machine.kill();
    await machine.end;
  });

  test("shell -u, --uid: a terminal that is the user's own", async () => {
    await using root = berthRoot();
    await userTree(root, true);
    await using machine = root.start("run", "-M", "m", "-b", "--console=read-only", "--", "--term");
    await machine.until(/^up/m);
    await root.recordWhen("m");
    for (const option of ["-u", "--uid"]) {
      await using terminal = openTerminal();
      const words = ["shell", option, "alice", "m", "/probe", "ids", "--", "tty", "--", "stat", "/dev/pts/1"];
      const { end } = terminal.spawn([BERTH, ...words], root.env);
      expect(await end).toMatchObject({ status: 0 });
      expect(parseProbe(terminal.output, "ids")).toMatchObject({ ...ALICE, ...NONE });
      expect(parseProbe(terminal.output, "tty")).toMatchObject({ controlling: true });
      // The machine's console is the first.
      expect(parseProbe(terminal.output, "tty")["names"]).toContain("/dev/pts/1");
      expect(parseProbe(terminal.output, "stat")).toMatchObject({ uid: 1000, gid: 5 });
    }
    machine.kill();
    await machine.end;
  });

  test("exec -u: finds who was added in an ephemeral machine", async () => {
    await using root = berthRoot();
    await userTree(root, true);
    await using machine = root.start("run", "-M", "m", "-x", "-b", "--console=read-only", "--", "--term");
    await machine.until(/^up/m);
    await root.recordWhen("m");
    await root.berth("exec", "m", "--", ...probe("write", "/etc/passwd", "carol:x:7:8::/:/bin/sh\n"));
    const { stdout } = await root.berth("exec", "-u", "carol", "m", "--", ...probe("ids"));
    expect(parseProbe(stdout, "ids")).toMatchObject({ uid: 7, gid: 8 });
    machine.kill();
    await machine.end;
  });
});
