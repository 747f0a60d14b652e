/** ProcessTwo=: a command as PID 2, and what its stub init does: reap, pass signals on, end, reboot, hold nothing. */
import { readdirSync, readFileSync, readlinkSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { BERTH, type BerthRoot, berthRoot, poll } from "../lib/berth.ts";
import { interview } from "../lib/interview.ts";
import { parseProbe, probe, probeTree } from "../lib/probe.ts";
import { openTerminal } from "../lib/pty.ts";
import { setUpProbe } from "../lib/set-up.ts";

const { tree } = setUpProbe();

/** A tree with the host's programs in /usr, for shells. */
async function shellTree(root: BerthRoot): Promise<string> {
  const own = await probeTree({ at: join(root.machines, "m") });
  for (const name of ["bin", "lib", "lib64"]) symlinkSync(`usr/${name}`, join(own, name));
  return own;
}

const shell = (root: BerthRoot, script: string, ...options: string[]) =>
  root.berth("run", "-q", "-M", "m", "--bind-ro=/usr", "--pipe", ...options, "--", "sh", "-c", script);

describe("ProcessTwo=yes", () => {
  test("ProcessTwo=yes, --as-pid2, -a: the command is PID 2 in a session of its own, with the rights it always has", async () => {
    await using root = berthRoot();
    const talk = interview({ process: ["process"], ids: ["ids"], fds: ["fds"], env: ["env"], signals: ["signals"] });
    const plain = talk.answers((await root.run(tree, ["-M", "m"], talk.command)).stdout);
    const outputs: string[] = [];
    for (const option of ["--as-pid2", "-a"]) outputs.push((await root.run(tree, [option], talk.command)).stdout);
    root.settings("m", "[Exec]\nProcessTwo=yes");
    outputs.push((await root.run(tree, ["-M", "m"], talk.command)).stdout);
    for (const output of outputs) {
      const answers = talk.answers(output);
      expect(answers.line("process")).toMatchObject({ pid: 2, ppid: 1, sid: 2, pgid: 2, dumpable: 1 });
      for (const same of ["ids", "signals"] as const) expect(answers.line(same)).toEqual(plain.line(same));
      expect(Object.keys(answers.line("fds")["fds"] as object)).toEqual(["0", "1", "2"]);
    }
  });

  test.each([
    ["exit", ["exit", "7"], 7],
    ["signal", ["signal", "9"], 137],
    ["exit of what is not found", ["no-such-verb"], 2],
  ])("ProcessTwo=: the status is the command's: %s", async (_, words, expected) => {
    await using root = berthRoot();
    expect(await root.run(tree, ["-a"], probe(...words))).toMatchObject({ status: expected });
  });

  test("ProcessTwo=: a command that can't be executed is an error, and nothing is left", async () => {
    await using root = berthRoot();
    const { status, stderr } = await root.run(tree, ["-q", "-a", "-M", "m"], ["/nothing"]);
    expect(status).toBe(127);
    expect(stderr).toMatch(/execve \/nothing: ENOENT/);
  });

  test("ProcessTwo=: everybody's orphans are reaped, and end with the command", async () => {
    await using root = berthRoot();
    await shellTree(root);
    // Each subshell ends before its child does, which PID 1 inherits.
    const script = `
      for i in 1 2 3 4 5 6 7 8; do (sleep 0.1 & exit); done
      (sleep 1000 & exit)
      left() { grep -l '^PPid:.1$' /proc/[0-9]*/status | wc -l; }
      for i in $(seq 200); do [ $(left) = 2 ] && break; sleep 0.05; done
      grep -h ^State: /proc/[0-9]*/status | sort | uniq -c | tr -s ' \\t' ' '
      left
      exit 5`;
    const { status, stdout } = await shell(root, script, "-a");
    expect(stdout).not.toContain("Z (zombie)");
    // The shell itself and the sleep that goes on.
    expect(stdout.trimEnd().split("\n").at(-1)).toBe("2");
    expect(status).toBe(5);
  });

  test("ProcessTwo=: the stub holds nothing of the host, and nobody inside gets at it", async () => {
    await using root = berthRoot();
    const talk = interview({
      cmdline: ["cat", "/proc/1/cmdline"],
      comm: ["cat", "/proc/1/comm"],
      environ: ["cat", "/proc/1/environ"],
      maps: ["cat", "/proc/1/maps"],
      exe: ["open-rw", "/proc/1/exe"],
      fds: ["ls", "/proc/1/fd"],
      mem: ["open-rw", "/proc/1/mem"],
    });
    const { stdout } = await root.run(tree, ["-a", "-M", "m"], talk.command);
    const answers = talk.answers(stdout);
    expect(answers.text("cmdline").replaceAll("\0", "")).toBe("berth-init");
    expect(answers.text("comm")).toBe("berth-init\n");
    for (const refused of ["environ", "maps", "exe", "fds", "mem"] as const)
      expect(answers.line(refused).error, refused).toMatch(/^(EACCES|EPERM)$/);

    await using machine = root.start(
      "run",
      "-q",
      "-D",
      tree,
      "-M",
      "m",
      "-a",
      "--console=read-only",
      "--",
      ...probe("init", "--term"),
    );
    await machine.until(/^up/m);
    const record = await root.recordWhen("m");
    const of = (file: string): string => readFileSync(`/proc/${record.leader.pid}/${file}`, "latin1");
    expect(readlinkSync(`/proc/${record.leader.pid}/cwd`)).toBe("/");
    const descriptors = readdirSync(`/proc/${record.leader.pid}/fd`);
    expect(descriptors.map((fd) => readlinkSync(`/proc/${record.leader.pid}/fd/${fd}`))).toEqual([
      "anon_inode:[signalfd]",
    ]);
    // Its own executable, the stack and the kernel's pages: the program of the launch is not mapped any more.
    expect(of("maps")).not.toMatch(/^200000000-/m);
    expect(of("maps")).not.toMatch(/memfd:berth-(?!stage)/);
    const status = of("status");
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    expect(status).toMatch(/^Seccomp:\t2$/m);
    // CAP_KILL and CAP_SYS_BOOT.
    expect(status).toMatch(/^CapEff:\t0000000000400020$/m);
    expect(Number(/^VmRSS:\s*(\d+)/m.exec(status)?.[1])).toBeLessThan(100);
    machine.kill();
    expect((await machine.end).status).toBe(0);
  });

  test("ProcessTwo=: without a user namespace, too, and a filter that denies what the stub needs is the payload's only", async () => {
    await using root = berthRoot();
    const options = ["-a", "--private-users=no", "--system-call-filter=~kill wait4 ppoll signalfd4"];
    const { status, stdout } = await root.run(tree, options, probe("process", "--", "exit", "9"));
    expect(status).toBe(9);
    expect(parseProbe(stdout, "process")).toMatchObject({ pid: 2 });
  });
});

describe("signals of ProcessTwo=", () => {
  const trap = "trap 'echo got $s; exit 3' $s; echo up; while :; do sleep 0.05; done";

  test.each(["TERM", "INT", "HUP", "QUIT"] as const)(
    "ProcessTwo=: SIG%s to berth run is the command's",
    async (name) => {
      await using root = berthRoot();
      await shellTree(root);
      const words = ["run", "-q", "-M", "m", "-a", "--bind-ro=/usr", "--pipe", "--", "sh", "-c", `s=${name}; ${trap}`];
      await using child = root.start(...words);
      await child.until(/^up/m);
      await root.recordWhen("m");
      child.kill(`SIG${name}`);
      expect(await child.end).toMatchObject({ status: 3, stdout: `up\ngot ${name}\n` });
    },
  );

  test("ProcessTwo=: signals to PID 1 itself are passed on", async () => {
    await using root = berthRoot();
    await shellTree(root);
    const script =
      "trap 'echo got USR1' USR1; trap 'echo got USR2; exit 4' USR2; kill -USR1 1; sleep 0.2; kill -USR2 1; while :; do sleep 0.05; done";
    expect(await shell(root, script, "-a")).toMatchObject({ stdout: "got USR1\ngot USR2\n", status: 4 });
  });

  test("ProcessTwo=: a command that does not handle a signal dies of it", async () => {
    await using root = berthRoot();
    await using child = root.start(
      "run",
      "-q",
      "-D",
      tree,
      "-M",
      "m",
      "-a",
      "--pipe",
      "--",
      ...probe("cwd", "--", "sleep", "60000"),
    );
    await child.until(/cwd/);
    await root.recordWhen("m");
    child.kill("SIGTERM");
    expect(await child.end).toMatchObject({ status: 143 });
  });

  test("ProcessTwo=: berth poweroff ends the command by SIGTERM and the machine by powering off", async () => {
    await using root = berthRoot();
    await shellTree(root);
    const script =
      "trap 'echo got TERM; sleep 0.2; echo done; exit 6' TERM; trap '' HUP; echo up; while :; do sleep 0.05; done";
    const words = ["run", "-M", "m", "-a", "--bind-ro=/usr", "--console=read-only", "--", "sh", "-c", script];
    await using child = root.start(...words);
    await child.until(/^up/m);
    await root.recordWhen("m");
    expect(await root.berth("poweroff", "m")).toMatchObject({ status: 0, stderr: "" });
    const { status, stdout } = await child.end;
    expect([status, stdout]).toEqual([0, "up\r\ngot TERM\r\ndone\r\n"]);
  });

  test("ProcessTwo=: berth reboot starts it again", async () => {
    await using root = berthRoot();
    const words = ["run", "-D", tree, "-M", "m", "-a", "--console=read-only", "--", ...probe("init", "--term")];
    await using child = root.start(...words);
    await child.until(/^up/m);
    const first = await root.recordWhen("m");
    expect(await root.berth("reboot", "m")).toMatchObject({ status: 0, stderr: "" });
    const second = await root.recordWhen("m", ({ leader }) => leader.pid !== first.leader.pid);
    expect(second.supervisor).toEqual(first.supervisor);
    await child.until(/up[\s\S]*up/);
    child.kill();
    expect(await child.end).toMatchObject({ status: 0 });
  });

  test("ProcessTwo=: on a terminal ^C is the command's, once, and ^] three times kills it all", async () => {
    await using root = berthRoot();
    await shellTree(root);
    await using terminal = openTerminal();
    const script = "trap 'echo interrupted' INT; echo up; while :; do sleep 0.05; done";
    const words = [BERTH, "run", "-q", "-M", "m", "-a", "--bind-ro=/usr", "--", "sh", "-c", script];
    const { end } = terminal.spawn(words, root.env);
    await terminal.until(/up/);
    await root.recordWhen("m");
    await poll("a raw terminal", () => (terminal.flags().canonical ? undefined : true));
    terminal.type("\x03");
    await terminal.until(/interrupted/);
    terminal.type("\x1d\x1d\x1d");
    expect(await end).toMatchObject({ status: 137 });
    expect(terminal.output.match(/interrupted/g)).toHaveLength(1);
  });
});

describe("how to start", () => {
  test("ProcessTwo=yes and Boot=yes of files exclude each other", async () => {
    await using root = berthRoot();
    const path = root.settings("m", "[Exec]\nProcessTwo=yes\nBoot=yes");
    const { status, stderr } = await root.run(tree, ["-M", "m"], []);
    expect(status).toBe(125);
    expect(stderr).toContain(`${path}:2:12: ProcessTwo=yes and Boot=yes exclude each other`);
  });

  test("--boot replaces ProcessTwo= of a file, and --as-pid2 its Boot=", async () => {
    await using root = berthRoot();
    const bootable = await probeTree({ at: join(root.machines, "m"), init: true });
    root.settings("m", "[Exec]\nProcessTwo=yes");
    expect((await root.berth("plan", "m")).stdout).toContain("execute /sbin/init");
    expect((await root.berth("plan", "m")).stdout).not.toContain("PID 2");
    root.settings("m", "[Exec]\nBoot=yes");
    const { stdout } = await root.run(bootable, ["-M", "m", "-a"], probe("process"));
    expect(parseProbe(stdout, "process")).toMatchObject({ pid: 2 });
  });
});
