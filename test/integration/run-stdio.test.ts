/** Exit statuses of `berth run`, and its payload's stdin, stdout and stderr. */
import { createHash, randomBytes } from "node:crypto";
import { chmodSync, closeSync, cpSync, mkdirSync, openSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { BERTH, berthRoot } from "../lib/berth.ts";
import { parseProbe, probe, probeTree } from "../lib/probe.ts";
import { setUpProbe } from "../lib/set-up.ts";

const { tree } = setUpProbe();

describe("the exit status", () => {
  test.each([0, 1, 7, 125, 255])("of a payload that exits with %i is that", async (status) => {
    await using root = berthRoot();
    expect(await root.run(tree, [], probe("exit", String(status)))).toMatchObject({ status, signal: null, stderr: "" });
  });

  test("of a payload that a signal killed is 128 and the signal", async () => {
    await using root = berthRoot();
    await using child = root.start("run", "-D", tree, "-M", "m", "--pipe", "--", ...probe("sleep", "100000"));
    const { leader } = await root.recordWhen("m");
    process.kill(leader.pid, "SIGKILL");
    const end = await child.end;
    expect(end.status).toBe(137);
    expect(end.stderr).toContain("machine m: its PID 1 was killed by SIGKILL");
  });

  test("of a payload that is not there, or whose interpreter is not, is 127", async () => {
    await using root = berthRoot();
    const own = await probeTree({ at: join(root.machines, "own") });
    mkdirSync(join(own, "bin"));
    writeFileSync(join(own, "bin/script"), "#!/no/such/shell\n", { mode: 0o755 });
    for (const program of ["/no/such/program", "no-such-program", "/bin/script"]) {
      const { status, stdout, stderr } = await root.run(own, [], [program]);
      expect([status, stdout], program).toEqual([127, ""]);
      expect(stderr, program).toMatch(/^berth: starting own failed at .*ENOENT.*\nhint: .*\n$/);
    }
  });

  test("of a payload that cannot be executed is 126", async () => {
    await using root = berthRoot();
    const own = await probeTree({ at: join(root.machines, "own") });
    writeFileSync(join(own, "plain"), "text");
    writeFileSync(join(own, "garbage"), "\x7fELF of no kind");
    chmodSync(join(own, "garbage"), 0o755);
    for (const [program, errno] of [
      ["/plain", "EACCES"],
      ["/garbage", "ENOEXEC"],
      ["/etc", "EACCES"],
    ]) {
      const { status, stderr } = await root.run(own, [], [program ?? ""]);
      expect(status, program).toBe(126);
      expect(stderr, program).toContain(errno);
    }
  });

  test("of what berth could not do is 125, of wrong usage 2", async () => {
    await using root = berthRoot();
    const missing = await root.run("/no/such/tree", [], probe("cwd"));
    expect(missing).toMatchObject({ status: 125, stdout: "" });
    expect(missing.stderr).toMatch(/^berth: \/no\/such\/tree: .*\nhint: .*\n$/);
    const file = join(root.path, "file");
    writeFileSync(file, "");
    expect((await root.run(file, [], probe("cwd"))).status).toBe(125);
    for (const option of ["--no-such-option", "--console=loud", "--bind"])
      expect((await root.berth("run", "-D", tree, option)).status, option).toBe(2);
  });

  test("of a machine that powers itself off is 0", async () => {
    await using root = berthRoot();
    for (const how of ["poweroff", "halt"])
      expect((await root.run(tree, [], probe("reboot", how))).status, how).toBe(0);
  });
});

test("programs without a slash are looked up in the machine's PATH, in its order", async () => {
  await using root = berthRoot();
  const own = await probeTree({ at: join(root.machines, "own") });
  for (const directory of ["usr/local/bin", "bin"]) {
    mkdirSync(join(own, directory), { recursive: true });
    cpSync(join(own, "probe"), join(own, directory, "tool"));
  }
  expect((await root.run(own, [], ["tool", "exit", "5"])).status).toBe(5);
  symlinkSync("/nowhere", join(own, "usr/local/sbin"));
  expect((await root.run(own, [], ["tool", "exit", "6"])).status).toBe(6);
});

describe("with --pipe", () => {
  test("--pipe: 64 MiB of random bytes go through both ways unchanged", async () => {
    await using root = berthRoot();
    const file = join(root.path, "random");
    const block = randomBytes(1 << 20);
    writeFileSync(
      file,
      Buffer.concat(Array.from({ length: 64 }, (_, i) => Buffer.concat([block.subarray(i), block.subarray(0, i)]))),
    );
    const copy = join(root.path, "copy");
    const command = `exec "$@" <"${file}" >"${copy}"`;
    const run = ["run", "-D", tree, "--pipe", "--", ...probe("echo")];
    expect((await root.spawn(["sh", "-c", command, "sh", BERTH, ...run]).end).status).toBe(0);
    const sum = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");
    expect(sum(copy)).toBe(sum(file));
  });

  test("the same through pipes on both sides", async () => {
    await using root = berthRoot();
    const input = randomBytes(8 << 20);
    await using child = root.spawn([BERTH, "run", "-D", tree, "--pipe", "--", ...probe("echo")], { input });
    expect((await child.end).status).toBe(0);
    expect(child.bytes().equals(input)).toBe(true);
  });

  test("stdout and stderr stay apart, berth's own words go to stderr", async () => {
    await using root = berthRoot();
    // The probe's usage is on stderr.
    const { status, stdout, stderr } = await root.run(tree, ["--bind=/etc:/mnt"], probe("cwd", "--", "no-such-verb"));
    expect([status, stdout]).toEqual([2, '{"verb":"cwd","cwd":"/"}\n']);
    expect(stderr).toMatch(/^berth: weaker than the default: .*\nusage: probe VERB/);
  });

  test("the end of stdin is the payload's, and an open one keeps it waiting", async () => {
    await using root = berthRoot();
    await using child = root.spawn([BERTH, "run", "-D", tree, "-M", "m", "--pipe", "--", ...probe("echo")], {
      stdin: "pipe",
    });
    child.child.stdin.write("first");
    await child.until(/first/);
    await root.recordWhen("m", ({ state }) => state === "running");
    child.child.stdin.end(" last");
    expect(await child.end).toMatchObject({ status: 0, stdout: "first last" });
  });

  test("a reader that goes away is noticed by the payload's writes", async () => {
    await using root = berthRoot();
    const file = join(root.path, "file");
    writeFileSync(file, Buffer.alloc(1 << 20, "x"));
    const pipeline = `("$@"; echo "status $?" >&2) | head -c 10`;
    const run = [
      "run",
      "-D",
      tree,
      "--pipe",
      `--bind-ro=${file}:/file`,
      "--",
      ...probe("cat", "/file", "--", "exit", "9"),
    ];
    const { stdout, stderr } = await root.spawn(["sh", "-c", pipeline, "sh", BERTH, ...run]).end;
    expect([stdout, stderr]).toEqual(["xxxxxxxxxx", "status 9\n"]);
  });

  test("the payload's fds are 0 to 2 and nothing else of berth's or its caller's", async () => {
    await using root = berthRoot();
    const held = openSync("/etc/passwd", "r");
    try {
      const spoil = `exec 7</etc 9</etc/shadow "$@" </dev/null`;
      const run = ["run", "-D", tree, "--pipe", "--", ...probe("fds")];
      const { stdout } = await root.spawn(["sh", "-c", spoil, "sh", BERTH, ...run]).end;
      const fds = parseProbe(stdout, "fds")["fds"] as Record<string, string>;
      expect(Object.keys(fds)).toEqual(["0", "1", "2"]);
      expect(fds).toMatchObject({ 0: "/dev/null", 1: expect.stringMatching(/^(pipe|socket):/) });
    } finally {
      closeSync(held);
    }
  });

  test("a directory of the host is not passed on", async () => {
    await using root = berthRoot();
    const run = ["run", "-q", "-D", tree, "--pipe", "--", ...probe("cwd")];
    const { status, stderr } = await root.spawn(["sh", "-c", 'exec "$@" </etc', "sh", BERTH, ...run]).end;
    expect({ status, stderr }).toEqual({
      status: 125,
      stderr: expect.stringMatching(/^berth: stdin is a directory .*\nhint: /),
    });
  });

  test("closed stdin, stdout and stderr of berth's own do no harm", async () => {
    await using root = berthRoot();
    const run = ["run", "-q", "-D", tree, "--pipe", "--", ...probe("exit", "3")];
    for (const closed of ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"]) {
      const { status } = await root.spawn(["sh", "-c", `exec "$@" ${closed}`, "sh", BERTH, ...run]).end;
      expect(status, closed).toBe(3);
    }
  });
});

describe("without a terminal", () => {
  test("--console=read-only is the default: the payload has a console, what it writes is shown, and stdin is not read", async () => {
    await using root = berthRoot();
    const run = ["run", "-D", tree, "--", ...probe("tty", "--", "cwd")];
    const { status, stdout } = await root.spawn([BERTH, ...run], { input: "not read" }).end;
    expect(status).toBe(0);
    expect(parseProbe(stdout, "tty")).toMatchObject({ isatty: [true, true, true], controlling: true, rows: 0 });
    expect(stdout).toMatch(/^\{"verb":"cwd","cwd":"\/"\}\r$/m);
  });

  test("--console=autopipe is pipe: the payload has the caller's own fds, and no byte is changed", async () => {
    await using root = berthRoot();
    const options = ["--console=autopipe"];
    const tty = await root.run(tree, options, probe("tty"));
    expect(parseProbe(tty.stdout, "tty")).toMatchObject({ isatty: [false, false, false], controlling: false });
    const input = "a\n\x03\x04\x11\x7f\r\n";
    const argv = [BERTH, "run", "-q", "-D", tree, ...options, "--", ...probe("echo")];
    expect(await root.spawn(argv, { input }).end).toMatchObject({ status: 0, stdout: input, stderr: "" });
  });

  test("--console=interactive has the payload read on its console what berth reads, and ^D ends it as if typed", async () => {
    await using root = berthRoot();
    const argv = [BERTH, "run", "-q", "-D", tree, "--console=interactive", "--", ...probe("tty", "--", "echo")];
    const { status, stdout } = await root.spawn(argv, { input: "typed\n\x04" }).end;
    expect(status).toBe(0);
    expect(parseProbe(stdout.slice(0, stdout.lastIndexOf("}") + 1), "tty")).toMatchObject({
      isatty: [true, true, true],
    });
    expect(stdout.match(/typed/g)).toHaveLength(2); // the console's echo, and the payload's
  });

  test("console output is whole when the payload ends right after it", async () => {
    await using root = berthRoot();
    const file = join(root.path, "file");
    writeFileSync(file, `${"0123456789abcdef".repeat(8192)}\nend\n`);
    const options = ["--console=read-only", `--bind-ro=${file}:/file`];
    const { stdout } = await root.run(tree, options, probe("cat", "/file"));
    expect(stdout).toBe(readFileSync(file, "utf8").replaceAll("\n", "\r\n"));
  });

  test("a reader of the console that goes away ends the machine", async () => {
    await using root = berthRoot();
    const pipeline = `("$@"; echo "status $?" >&2) | head -n 1`;
    const run = ["run", "-q", "-D", tree, "--console=read-only", "--", ...probe("cwd", "--", "cat", "/dev/zero")];
    const { stdout, stderr } = await root.spawn(["sh", "-c", pipeline, "sh", BERTH, ...run]).end;
    expect(stdout).toBe('{"verb":"cwd","cwd":"/"}\r\n');
    expect(stderr).toBe("status 137\n");
  });
});
