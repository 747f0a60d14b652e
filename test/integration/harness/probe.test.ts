import { type ChildProcess, execFileSync, type StdioOptions, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { checkLeaks, leaksSince, snapshot } from "../../lib/leaks.ts";
import { canaries, parseEscape, parseProbe, probe, probeProgram, probeTree } from "../../lib/probe.ts";
import { cgroup2Mount, needs, needsHere } from "../../lib/requires.ts";

const ready = needs("root", "cc", "tool:unshare", "tool:script");
checkLeaks();

let program = "";
beforeAll(async () => {
  if (ready) program = await probeProgram();
});

/** Runs the probe on this host. */
function run(words: string[], options: { env?: NodeJS.ProcessEnv; input?: Buffer; stdio?: StdioOptions } = {}) {
  const result = spawnSync(program, words, options);
  return { status: result.status, signal: result.signal, output: result.stdout.toString("latin1") };
}

test("several verbs run in order, the worst status counts", () => {
  const { status, output } = run(["cwd", "--", "cat", "/nonexistent", "--", "hostname"]);
  expect(parseProbe(output).map((line) => line.verb)).toEqual(["cwd", "cat", "hostname"]);
  expect(parseProbe(output, "cat").error).toBe("ENOENT");
  expect(status).toBe(1);
  expect(run(["cwd"]).status).toBe(0);
  expect(run(["no-such-verb"]).status).toBe(2);
  expect(run(["mount", "too few"]).status).toBe(2);
  expect(run(["exit", "7", "--", "cwd"])).toMatchObject({ status: 7, output: "" });
  expect(run(["signal", "15"]).signal).toBe("SIGTERM");
});

test("what it reports is what /proc says", () => {
  const { output } = run(["ids", "--", "process", "--", "umask", "--", "namespaces", "--", "limits"]);
  const status = readFileSync("/proc/self/status", "utf8");
  const effective = BigInt(`0x${/CapEff:\s*(\w+)/.exec(status)?.[1]}`).toString(16);
  const bounding = BigInt(`0x${/CapBnd:\s*(\w+)/.exec(status)?.[1]}`).toString(16);
  expect(parseProbe(output, "ids")).toMatchObject({ uid: 0, euid: 0, gid: 0, effective, bounding, ambient: "0" });
  expect(parseProbe(output, "process")).toMatchObject({ ppid: process.pid, dumpable: 1, pdeathsig: 0 });
  expect(parseProbe(output, "umask")["umask"]).toBe(process.umask());
  const limit = /Max open files\s+(\d+)\s+(\d+)/.exec(readFileSync("/proc/self/limits", "utf8"));
  expect(parseProbe(output, "limits")["nofile"]).toEqual({ soft: Number(limit?.[2]), hard: Number(limit?.[2]) });
});

test("environment and strange bytes arrive whole", () => {
  const env = { PLAIN: "x", STRANGE: 'quote" back\\ new\nline' };
  expect(parseProbe(run(["env"], { env }).output, "env")["env"]).toEqual(env);
  const input = Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * 7) % 256));
  expect(Buffer.from(run(["echo"], { input }).output, "latin1").equals(input)).toBe(true);
});

test("fds, signals and files", () => {
  const directory = mkdtempSync(join(tmpdir(), "probe-"));
  const file = join(directory, "file");
  const device = join(directory, "null");
  const { output } = run([
    ...["write", file, "text", "--", "stat", file, "--", "mknod", device, "c", "1", "3", "--", "stat", device],
    ...["--", "ls", directory, "--", "open-rw", device, "--", "signals"],
  ]);
  rmSync(directory, { recursive: true });
  const [, first, , second] = parseProbe(output);
  expect(first).toMatchObject({ type: "file", mode: 0o644, uid: 0, size: 4 });
  expect(second).toMatchObject({ type: "char", mode: 0o600, major: 1, minor: 3 });
  expect(parseProbe(output, "ls")["names"]).toEqual(["file", "null"]);
  expect(parseProbe(output, "open-rw")["ok"]).toBe(true);
  expect(parseProbe(output, "signals")).toMatchObject({ blocked: "0", caught: "0" });
});

test("an fd it is given is seen, with its target; a directory among them is an escape", () => {
  const given = openSync("/usr", "r");
  const { output } = run(["fds", "--", "escape", "fd:directories"], { stdio: ["ignore", "pipe", "pipe", given] });
  closeSync(given);
  expect(parseProbe(output, "fds")["fds"]).toMatchObject({ 0: "/dev/null", 3: "/usr" });
  expect(parseEscape(output).escaped).toEqual(["fd:directories fd 3 is a directory"]);
});

test("mounts and raw calls, in a mount namespace of its own", () => {
  const words = ["mount", "tmpfs", "/mnt", "tmpfs", "0", "size=1m", "--", "mounts", "--", "umount", "/mnt"];
  const output = execFileSync("unshare", ["-m", program, ...words, "--", "syscall", "39"], { encoding: "utf8" });
  expect(output).toMatch(/ \/mnt rw,relatime .*size=1024k/);
  expect(parseProbe(output).map((line) => line["ok"] ?? line["result"])).toEqual([true, true, expect.any(Number)]);
});

test("network: a new namespace has lo alone, down", () => {
  const output = execFileSync("unshare", ["-n", program, "net"], { encoding: "utf8" });
  expect(parseProbe(output, "net")["links"]).toEqual({ lo: { up: false, addresses: [] } });
});

test("terminal: on a PTY it is one, on pipes it is not", () => {
  expect(parseProbe(run(["tty"]).output, "tty")).toMatchObject({ isatty: [false, false, false] });
  const output = execFileSync("script", ["-qec", `${program} tty`, "/dev/null"], { encoding: "utf8" });
  expect(parseProbe(output, "tty")).toMatchObject({ isatty: [true, true, true], controlling: true, canonical: true });
});

test("notify says where it could not send to", () => {
  expect(parseProbe(run(["notify", "READY=1"], { env: {} }).output, "notify").error).toBe("EDESTADDRREQ");
  const env = { NOTIFY_SOCKET: "@berth-no-such-socket" };
  expect(parseProbe(run(["notify", "READY=1"], { env }).output, "notify").error).toBe("ECONNREFUSED");
});

describe("as PID 1 of a pid namespace", () => {
  const halt = 37; // SIGRTMIN+3

  async function boot(...words: string[]): Promise<{ child: ChildProcess; init: number; output: () => string }> {
    const child = spawn("unshare", ["--pid", "--fork", "--kill-child", program, "init", ...words]);
    let text = "";
    child.stdout.on("data", (bytes) => {
      text += bytes;
    });
    await expect.poll(() => text).toContain("up\n");
    const init = Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8"));
    return { child, init, output: () => text };
  }

  test("stops on SIGRTMIN+3 with the status asked for, after its children are reaped", async () => {
    const { child, init, output } = await boot("--status", "9", "sleep", "1");
    await expect.poll(() => readFileSync(`/proc/${init}/task/${init}/children`, "utf8")).toBe("");
    process.kill(init, halt);
    expect(await once(child, "exit")).toEqual([9, null]);
    expect(output()).toBe('up\n{"verb":"sleep","ok":true}\nstopping\n');
  });

  test.each([
    ["poweroff", "SIGINT"],
    ["reboot", "SIGHUP"],
  ] as const)("--on-stop %s makes the kernel end it with %s", async (ending, signal) => {
    const { child, init } = await boot("--on-stop", ending);
    process.kill(init, halt);
    // unshare passes the signal its child died of on, as 128+N or by dying of it itself.
    const [status, died] = await once(child, "exit");
    expect(died === signal || status === 128 + constants.signals[signal]).toBe(true);
  });

  test("SIGTERM stops it with --term only", async () => {
    const plain = await boot();
    process.kill(plain.init, "SIGTERM");
    process.kill(plain.init, halt);
    expect(await once(plain.child, "exit")).toEqual([0, null]);
    const term = await boot("--term");
    process.kill(term.init, "SIGTERM");
    expect(await once(term.child, "exit")).toEqual([0, null]);
  });
});

describe("escape", () => {
  test("on the host itself most succeeds, the marks included, and the host is unchanged", async () => {
    await using marks = await canaries();
    const before = snapshot();
    const { status, output } = run(["escape"], { env: marks.env });
    const { escaped, skipped } = parseEscape(output);
    expect(leaksSince(before)).toEqual([]);
    expect(status).toBe(1);
    expect(skipped.filter((line) => line.includes("PROBE_HOST"))).toEqual([]);
    const names = escaped.map((line) => line.split(" ")[0]);
    expect(names).toEqual(expect.arrayContaining(["host:key", "host:abstract-socket", "host:loopback", "host:file"]));
    expect(names).toEqual(expect.arrayContaining(["namespace:user", "process:see", "write:core_pattern"]));
    expect(names).toEqual(expect.arrayContaining(["masks:umount", "kernel:clock_settime", "share:nice"]));
  });

  test("nothing succeeds in systemd-nspawn with both namespaces", async (ctx) => {
    needsHere(ctx, "systemd-nspawn", "cgroup2");
    await using marks = await canaries();
    const tree = await probeTree({ at: join(tmpdir(), "nspawn-tree") });
    const env = Object.entries(marks.env).flatMap(([name, value]) => ["--setenv", `${name}=${value}`]);
    const where = ["--quiet", "--register=no", "--keep-unit", "--private-users=pick", "--private-network", "-D", tree];
    // It leaves cgroups behind in the one it is started in, on hybrid hosts in the v1 tree of systemd too.
    const cgroup = `berth-nspawn-${process.pid}`;
    const enter = 'mkdir "$0" && echo $$ >"$0/cgroup.procs" && exec systemd-nspawn "$@"';
    const words = [join(cgroup2Mount() ?? "", cgroup), ...where, ...env, ...probe("escape")];
    const result = spawnSync("sh", ["-c", enter, ...words], { encoding: "utf8" });
    execFileSync("find", ["/sys/fs/cgroup", "-depth", "-path", `*/${cgroup}*`, "-type", "d", "-delete"]);
    rmSync(tree, { recursive: true });
    expect(parseEscape(result.stdout)).toMatchObject({ escaped: [], skipped: [] });
    expect(result.status).toBe(0);
  });

  test("an escape test that was cut short does not count as held", () => {
    expect(() => parseEscape("write:core_pattern held EACCES\n")).toThrow("did not come to its end");
  });
});

test("trees: shared, and one's own with an init", async () => {
  const own = await probeTree({ init: true, at: join(tmpdir(), "own-tree") });
  const shared = await probeTree();
  expect(existsSync(join(own, "sbin/init")) && existsSync(join(own, "proc"))).toBe(true);
  expect(existsSync(join(shared, "sbin/init"))).toBe(false);
  expect(await probeTree()).toBe(shared);
  rmSync(own, { recursive: true });
});
