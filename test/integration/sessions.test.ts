/** `berth shell` and `berth login`: sessions of the machine's own systemd and PAM, where it has them. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BERTH, BerthRoot, buildBerth } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { liveMachine } from "../lib/live-machine.ts";
import { openTerminal } from "../lib/pty.ts";
import { needs } from "../lib/requires.ts";
import { debianTree } from "../lib/trees.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:mmdebstrap", "tool:setsid");
checkLeaks({ scope: "file" });

let root: BerthRoot;
beforeAll(async () => {
  if (!ready) return;
  buildBerth();
  root = new BerthRoot();
  execFileSync("cp", ["-a", "--reflink=auto", await debianTree("trixie"), join(root.machines, "deb")]);
  expect(await root.berth("start", "deb")).toMatchObject({ status: 0 });
  const script = "echo root:secret | chpasswd; useradd -m -s /bin/bash alice";
  expect(await root.berth("exec", "deb", "--", "sh", "-c", script)).toMatchObject({ status: 0 });
}, 15 * 60_000);

afterAll(async () => {
  if (!ready) return;
  await root.berth("terminate", "deb");
  await root[Symbol.asyncDispose]();
});

const SESSION = "echo sid=$XDG_SESSION_ID. run=$XDG_RUNTIME_DIR. term=$TERM. id=$(id -un). pwd=$PWD. extra=$EXTRA.";

describe("in a machine with systemd", () => {
  test.each([
    ["root", ["deb"], "root", "0", "/root"],
    ["USER@NAME", ["alice@deb"], "alice", "1000", "/home/alice"],
    ["--user", ["-u", "alice", "deb"], "alice", "1000", "/home/alice"],
  ])(
    "shell of %s is a session of logind's, on a terminal, and its exit status is kept",
    async (_, words, user, uid, home) => {
      await using terminal = openTerminal({ rows: 33, columns: 99 });
      const before = terminal.modes();
      const { end } = terminal.spawn([BERTH, "shell", "-E", "EXTRA=it is", ...words], root.env);
      await terminal.until(/[#$] $/);
      terminal.type(`${SESSION}\r`);
      const shown = `sid=[0-9a-z]+\\. run=/run/user/${uid}\\. term=vt220\\. id=${user}\\. pwd=${home}\\. extra=it is\\.`;
      await terminal.until(new RegExp(shown));
      terminal.type("loginctl --no-pager --no-legend list-sessions; stty size\r");
      await terminal.until(new RegExp(`\\d+ +${uid} +${user} [^]*33 99`));
      terminal.type("exit 7\r");
      expect(await end).toEqual({ status: 7, signal: null });
      expect(terminal.modes()).toBe(before);
    },
  );

  test("shell runs a command instead, whose exit status is berth's", async () => {
    await using terminal = openTerminal();
    const { end } = terminal.spawn(
      [BERTH, "shell", "deb", "/bin/sh", "-c", "tty; echo $0 $1; exit 5", "a b", "c"],
      root.env,
    );
    expect(await end).toEqual({ status: 5, signal: null });
    for (const [command, status] of [
      ["nosuch", 127],
      ["/etc", 126],
    ] as const) {
      await using third = openTerminal();
      expect(await third.spawn([BERTH, "shell", "deb", command], root.env).end).toEqual({ status, signal: null });
    }
    expect(terminal.output).toMatch(/\/dev\/pts\/\d+\r\na b c\r\n/);
    // systemd knows variables of its own.
    await using second = openTerminal();
    const words = ["$HOME", "$\u007bHOME}", "$$", "%n"];
    const echo = second.spawn([BERTH, "shell", "deb", "/bin/echo", ...words], root.env);
    expect((await echo.end).status).toBe(0);
    expect(second.output).toContain(`${words.join(" ")}\r\n`);
    expect(second.output).not.toContain("\x1b]");
  });

  test("^] three times ends a shell, and its session with it", async () => {
    await using terminal = openTerminal();
    const { end } = terminal.spawn([BERTH, "shell", "deb"], root.env);
    await terminal.until(/# $/);
    const untilSleeps = (wanted: boolean) => {
      const found = `pgrep -xf 'sleep 12345' >/dev/null ${wanted ? "&&" : "||"} exit 0`;
      return root.berth("exec", "deb", "--", "sh", "-c", `for i in $(seq 100); do ${found}; sleep 0.1; done; exit 1`);
    };
    terminal.type("sleep 12345\r");
    // Not only typed: a shell that is hung up while it starts a program may leave it to itself.
    expect((await untilSleeps(true)).status).toBe(0);
    terminal.type("\x1d".repeat(3));
    expect((await end).status).toBe(129);
    expect((await untilSleeps(false)).status).toBe(0);
    // Nor does anything of it fail in the machine.
    const failed = await root.berth("exec", "deb", "--", "systemctl", "--failed", "--plain", "--no-legend");
    expect(failed.stdout).toBe("");
  });

  test("shell of a user that there is not says so", async () => {
    await using terminal = openTerminal();
    const { end } = terminal.spawn([BERTH, "shell", "nobody2@deb"], root.env);
    expect((await end).status).toBe(125);
    expect(terminal.output).toMatch(/^berth: machine deb: \S+ has no user nobody2\r\nhint: /);
  });

  test("login asks who it is, and what comes is a session; it ends with that", async () => {
    await using terminal = openTerminal();
    const { end } = terminal.spawn([BERTH, "login", "deb"], root.env);
    await terminal.until(/deb login: $/);
    terminal.type("root\r");
    await terminal.until(/Password: $/);
    terminal.type("secret\r");
    await terminal.until(/# $/);
    terminal.type(`${SESSION}\r`);
    await terminal.until(/sid=[0-9a-z]+\. run=\/run\/user\/0\. term=vt220\. id=root\./);
    terminal.type("exit\r");
    expect(await end).toEqual({ status: 0, signal: null });
  });
});

describe("in a machine without systemd", () => {
  test("shell is a shell on a terminal of the machine's all the same, of USER@NAME as well", async () => {
    await using live = await liveMachine();
    await live.inside(
      "mkdir -p /etc /home/bob && echo 'bob:x:1000:1000::/home/bob:/bin/sh' >/etc/passwd && chown 1000:1000 /home/bob",
    );
    await using terminal = openTerminal();
    const { end } = terminal.spawn([BERTH, "shell", "bob@m", "sh", "-c", "id -u; pwd; tty; exit 3"], live.root.env);
    expect(await end).toEqual({ status: 3, signal: null });
    expect(terminal.output).toBe("1000\r\n/home/bob\r\n/dev/pts/1\r\n");
  });

  test("login is the machine's login(1)", async () => {
    await using live = await liveMachine();
    await using terminal = openTerminal();
    const { end } = terminal.spawn([BERTH, "login", "m"], live.root.env);
    // It needs more of a system than this one is, and says so.
    expect((await end).status).toBe(99);
    expect(terminal.output).toMatch(/^login: PAM Failure/);
  });
});

describe("without a terminal", () => {
  test.each<[string, readonly string[], string, number, string]>([
    ["a command", ["deb", "/bin/sh", "-c", "test -t 0 && test -t 1 && echo hi; exit 3"], "", 3, "hi\r\n"],
    ["-q and a user", ["-q", "--uid=alice", "deb", "/bin/sh", "-c", "id -un"], "", 0, "alice\r\n"],
    // What is typed is shown by the terminal, once.
    ["input, until its end", ["deb", "/bin/cat"], "one\n", 0, "one\r\none\r\n"],
    ["a last line without an end", ["deb", "/bin/cat"], "one", 0, "one\r\none\r\n"],
  ])("shell has one inside: %s", async (_, words, input, status, stdout) => {
    const { end } = root.spawn([BERTH, "shell", ...words], { input });
    expect(await end).toMatchObject({ status, stdout, stderr: "" });
  });

  test("what is typed before there is a shell is done, too, on a host that is busy", async () => {
    const shells = Array.from(
      { length: 12 },
      (_, at) => root.spawn([BERTH, "shell", "deb"], { input: `exit ${at + 1}\n` }).end,
    );
    const ends = await Promise.all(shells);
    expect(ends.map(({ status }) => status)).toEqual(ends.map((_, at) => at + 1));
    for (const { stdout } of ends) expect(stdout).not.toContain("_berth");
  });

  test("a shell does what is typed, and ends with it; its exit status is berth's", async () => {
    const script = (end: string): string => `echo run=$XDG_RUNTIME_DIR.\n${end}`;
    for (const [end, wanted] of [
      ["exit 4\n", 4],
      ["(exit 5)", 5],
      ["", 0],
    ] as const) {
      const { status, stdout } = await root.spawn([BERTH, "shell", "deb"], { input: script(end) }).end;
      expect([status, stdout]).toEqual([wanted, expect.stringContaining("\nrun=/run/user/0.\r\n")]);
    }
  });

  test("login is refused", async () => {
    const { status, stderr } = await root.berth("login", "deb");
    expect([status, stderr]).toEqual([2, "berth: login needs a terminal\nhint: berth exec deb -- COMMAND does not\n"]);
  });
});

test("a shell of nobody is refused", async () => {
  expect((await root.berth("shell", "@deb")).stderr).toMatch(/no user before the @/);
});
