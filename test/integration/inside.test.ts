/** What a payload finds inside a machine that nobody asked anything special of. */
import { execFileSync } from "node:child_process";
import { readFileSync, readlinkSync } from "node:fs";
import { beforeAll, describe, expect, test } from "vitest";
import { capabilityNumber } from "../../src/spec/capabilities.ts";
import { KEYCTL_JOIN_SESSION_KEYRING } from "../../src/sys/constants.ts";
import { ARCH, bind, check } from "../../src/sys/libc.ts";
import { syscallNumber } from "../../src/sys/syscall-numbers.ts";
import { BERTH, berthRoot, buildBerth, type End } from "../lib/berth.ts";
import { type Answers, interview } from "../lib/interview.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { canaries, parseEscape, parseProbe, probe, probeProgram, probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();

const NAMESPACES = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
const DEVICES = { null: [1, 3], zero: [1, 5], full: [1, 7], random: [1, 8], urandom: [1, 9], tty: [5, 0] };

/** systemd-nspawn(1), --capability=: the default list; CAP_NET_ADMIN comes with an own network. */
const DEFAULT_CAPABILITIES = `AUDIT_CONTROL AUDIT_WRITE CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID IPC_OWNER KILL
  LEASE LINUX_IMMUTABLE MKNOD NET_BIND_SERVICE NET_BROADCAST NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_ADMIN SYS_BOOT
  SYS_CHROOT SYS_NICE SYS_PTRACE SYS_RESOURCE SYS_TTY_CONFIG NET_ADMIN`.split(/\s+/);

const EVERYTHING = interview({
  ids: ["ids"],
  process: ["process"],
  fds: ["fds"],
  cwd: ["cwd"],
  env: ["env"],
  signals: ["signals"],
  limits: ["limits"],
  umask: ["umask"],
  namespaces: ["namespaces"],
  net: ["net"],
  hostname: ["hostname"],
  keyring: ["keyring"],
  uidMap: ["cat", "/proc/self/uid_map"],
  gidMap: ["cat", "/proc/self/gid_map"],
  root: ["stat", "/"],
  probe: ["stat", "/probe"],
  mounts: ["mounts"],
  dev: ["ls", "/dev"],
  null: ["stat", "/dev/null"],
  zero: ["stat", "/dev/zero"],
  full: ["stat", "/dev/full"],
  random: ["stat", "/dev/random"],
  urandom: ["stat", "/dev/urandom"],
  tty: ["stat", "/dev/tty"],
  console: ["stat", "/dev/console"],
  ptmx: ["stat", "/dev/ptmx"],
  realPtmx: ["stat", "/dev/pts/ptmx"],
  runHost: ["ls", "/run/host"],
  manager: ["cat", "/run/host/container-manager"],
  uuid: ["cat", "/run/host/container-uuid"],
  osRelease: ["cat", "/run/host/os-release"],
  notify: ["stat", "/run/host/notify"],
  inaccessibleFile: ["stat", "/run/host/inaccessible/reg"],
  inaccessibleDirectory: ["stat", "/run/host/inaccessible/dir"],
});

const keyctl = bind("long syscall(long number, long operation, const char *name)");

let tree = "";
let end: End;
let seen: Answers<Parameters<ReturnType<typeof EVERYTHING.answers>["line"]>[0]>;

/** One machine answers for most tests. Its caller has everything wrong that can be handed down. */
beforeAll(async () => {
  if (!ready) return;
  buildBerth();
  tree = await probeTree();
  await using root = berthRoot();
  const spoil = `trap '' PIPE HUP TERM INT QUIT USR1 CHLD WINCH XFSZ; umask 077; cd /usr
    ulimit -S -n 99; ulimit -S -s 4096; exec 7</etc 8</etc/passwd nice -n 5 "$@"`;
  const run = ["run", "-D", tree, "-M", "inside", "--console=read-only", "--", ...EVERYTHING.command];
  end = await root.spawn(["sh", "-c", spoil, "sh", BERTH, ...run], { env: { LANG: "xx", TERM: "vt220" } }).end;
  seen = EVERYTHING.answers(end.stdout);
});

test("--directory=TREE: a run succeeds and says nothing of its own", () => {
  expect(end).toMatchObject({ status: 0, stderr: "" });
});

test("its users are 65536 ids of the host that are nobody else's", () => {
  const [inside, outside, count] = seen.text("uidMap").trim().split(/\s+/).map(Number);
  expect([inside, count]).toEqual([0, 65536]);
  expect(outside).toBeGreaterThanOrEqual(524288);
  expect((outside ?? 1) % 65536).toBe(0);
  expect(seen.text("gidMap")).toBe(seen.text("uidMap"));
});

test("it runs as root without groups, and the tree's files are root's", () => {
  expect(seen.line("ids")).toMatchObject({ uid: 0, euid: 0, suid: 0, gid: 0, egid: 0, sgid: 0, groups: [] });
  expect(seen.line("probe")).toMatchObject({ uid: 0, gid: 0, mode: 0o755 });
  expect(seen.line("root")).toMatchObject({ uid: 0, gid: 0, mode: 0o755 });
});

test("all its namespaces but the clocks' are its own", () => {
  for (const name of NAMESPACES)
    expect(seen.line("namespaces")[name], name).not.toBe(readlinkSync(`/proc/self/ns/${name}`));
});

test("the host name is the machine's", () => {
  expect(seen.line("hostname")["hostname"]).toBe("inside");
});

test("the environment is made up: the Container Interface's, a login's, and nothing of the caller's", () => {
  const shared = ["ID", "BUILD_ID", "VARIANT_ID", "VERSION_ID"];
  const host = readFileSync("/etc/os-release", "utf8")
    .split("\n")
    .map((line) => line.split("="))
    .filter(([name = ""]) => shared.includes(name))
    .map(([name = "", value = ""]) => [`container_host_${name.toLowerCase()}`, value.replaceAll('"', "")]);
  expect(seen.line("env")["env"]).toEqual({
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    container: "berth",
    container_uuid: seen.text("uuid").trim(),
    NOTIFY_SOCKET: "/run/host/notify",
    HOME: "/root",
    USER: "root",
    LOGNAME: "root",
    LANG: "C.UTF-8",
    ...Object.fromEntries(host),
  });
});

test("there are three fds, all of them its own console", () => {
  expect(seen.line("fds")["fds"]).toEqual({ 0: "/dev/console", 1: "/dev/console", 2: "/dev/console" });
});

test("the directory is /, the umask 022", () => {
  expect(seen.line("cwd")["cwd"]).toBe("/");
  expect(seen.line("umask")["umask"]).toBe(0o022);
});

test("no signal is blocked or ignored, whatever the caller ignores", () => {
  expect(seen.line("signals")).toMatchObject({ blocked: "0", ignored: "0", caught: "0" });
});

test("resource limits are those of a boot, not the caller's", () => {
  const limits = seen.line("limits");
  expect(limits["nofile"]).toMatchObject({ soft: 1024 });
  expect(limits["stack"]).toEqual({ soft: 8 << 20, hard: null });
  expect(limits["core"]).toEqual({ soft: 0, hard: null });
  for (const name of ["cpu", "fsize", "data", "as"]) expect(limits[name], name).toEqual({ soft: null, hard: null });
  for (const name of ["nice", "rtprio"]) expect(limits[name], name).toEqual({ soft: 0, hard: 0 });
});

test("it is PID 1 and leads its session, with nothing odd about the process", () => {
  const usual = { dumpable: 1, childSubreaper: 0, personality: "0", oomScoreAdj: "0" };
  expect(seen.line("process")).toMatchObject({ pid: 1, ppid: 0, pgid: 1, sid: 1, ...usual });
});

test("its capabilities are systemd-nspawn's default list with CAP_NET_ADMIN, no more and no less", () => {
  const bits = DEFAULT_CAPABILITIES.map((name) => 1n << BigInt(capabilityNumber(`CAP_${name}`) ?? 63));
  const mask = bits.reduce((all, bit) => all | bit).toString(16);
  const set = { effective: mask, permitted: mask, bounding: mask, inheritable: "0", ambient: "0", securebits: 0 };
  expect(seen.line("ids")).toMatchObject(set);
});

test("system calls are filtered, and setuid programs still work", () => {
  expect(seen.line("ids")).toMatchObject({ seccomp: 2, noNewPrivileges: false });
});

test("Private=yes is the default: lo is up, and the only interface", () => {
  expect(seen.line("net")["links"]).toEqual({ lo: { up: true, addresses: ["127.0.0.1", "::1"] } });
});

test("/dev holds the harmless devices and nothing else", () => {
  const others = ["console", "core", "fd", "ptmx", "stderr", "stdin", "stdout", "mqueue", "pts", "shm"];
  expect(seen.line("dev")["names"]).toEqual([...Object.keys(DEVICES), ...others].sort());
  for (const [name, [major, minor]] of Object.entries(DEVICES))
    expect(seen.line(name as keyof typeof DEVICES), name).toMatchObject({
      ...{ type: "char", mode: 0o666, uid: 0, gid: 0 },
      ...{ major, minor },
    });
  expect(seen.line("ptmx")).toMatchObject({ type: "link", target: "pts/ptmx" });
  expect(seen.line("realPtmx")).toMatchObject({ type: "char", mode: 0o666, major: 5, minor: 2 });
});

test("the console is a terminal of its own devpts, of root:tty and not for everybody", () => {
  expect(seen.line("console")).toMatchObject({ type: "char", major: 136, uid: 0, gid: 5, mode: 0o620 });
});

test("/run/host is the Container Interface", () => {
  expect(seen.line("runHost")["names"]).toEqual(expect.arrayContaining(["incoming", "inaccessible", "notify"]));
  expect(seen.text("manager")).toBe("berth\n");
  expect(seen.text("uuid")).toMatch(/^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}\n$/);
  const id = /^ID="?([a-z]+)"?$/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1];
  expect(seen.text("osRelease")).toContain(`ID="${id}"\n`);
  expect(seen.line("notify")).toMatchObject({ type: "socket", mode: 0o666 });
  expect(seen.line("inaccessibleFile")).toMatchObject({ type: "file", mode: 0, size: 0 });
  expect(seen.line("inaccessibleDirectory")).toMatchObject({ type: "directory", mode: 0 });
});

test("keys of the host are out of sight, and the session keyring is new where a filter allows to ask", async () => {
  const program = await probeProgram();
  const host = (...words: string[]) =>
    parseProbe(execFileSync(program, words, { encoding: "utf8" }))[0] ?? { verb: "" };
  // Two places where a caller has keys: its user's keyring, and a session's that its children inherit.
  const ofUser = String(host("add-key", `berth-inside-${process.pid}`, "secret")["serial"]);
  expect(host("keyring", ofUser)).toMatchObject({ described: true, read: true });
  joinSessionKeyring(KEYCTL_JOIN_SESSION_KEYRING, "berth-inside");
  const session = Number(host("keyring")["session"]);
  try {
    await using root = berthRoot();
    const talk = interview({ ofUser: ["keyring", ofUser], session: ["keyring", String(session)] });
    const options = ["-q", "--system-call-filter=keyctl"];
    const answers = talk.answers((await root.run(tree, options, talk.command)).stdout);
    const outside = host("keyring", ofUser);
    expect(outside).toMatchObject({ described: true, session });
    for (const question of ["ofUser", "session"] as const) {
      const inside = answers.line(question);
      expect(inside, question).toMatchObject({ described: false, read: false });
      expect(inside["session"]).toBeGreaterThan(0);
      expect(inside["session"]).not.toBe(session);
      expect(inside["user"]).not.toBe(outside["user"]);
    }
  } finally {
    host("remove-key", ofUser);
    joinSessionKeyring(KEYCTL_JOIN_SESSION_KEYRING, null);
  }
  expect(seen.line("keyring")).toMatchObject({ session: -1, user: -1 });
});

function joinSessionKeyring(operation: number, name: string | null): void {
  check(keyctl(syscallNumber("keyctl", ARCH), operation, name), "keyctl");
}

describe("what is covered and read-only", () => {
  interface Mount {
    readonly point: string;
    readonly readOnly: boolean;
  }

  /** All that were assembled outside. */
  function lockedMounts(text = seen.text("mounts")): Mount[] {
    return text
      .trim()
      .split("\n")
      .map((line) => line.split(" "))
      .map(([, , , , point = "", options = ""]) => ({ point, readOnly: options.startsWith("ro") }))
      .filter(({ point }) => !["/", "/tmp"].includes(point));
  }

  test("parts of /proc and /sys that act on the host or tell of it", () => {
    const readOnly = lockedMounts().flatMap((mount) => (mount.readOnly ? [mount.point] : []));
    const covered = ["/proc/kallsyms", "/proc/keys", "/proc/timer_list", "/sys/firmware"];
    const kept = ["/proc/sys", "/proc/bus", "/proc/fs", "/proc/irq", "/sys", "/run/host"];
    expect(readOnly).toEqual(expect.arrayContaining([...covered, ...kept]));
  });

  test("none can be unmounted or made writable, and all hold after the attempts", async () => {
    await using root = berthRoot();
    const mounts = lockedMounts();
    const attempts = mounts.flatMap(({ point }) => ["umount", "remount-rw"].map((verb) => [verb, point]));
    const talk = interview<string>({
      ...Object.fromEntries(attempts.map((words) => [words.join(" "), words])),
      sysctl: ["write", "/proc/sys/kernel/hostname", "x"],
      irq: ["write", "/proc/irq/default_smp_affinity", "1"],
      runHost: ["write", "/run/host/os-release", "x"],
      sys: ["mkdir", "/sys/x"],
      kallsyms: ["cat", "/proc/kallsyms"],
      keys: ["cat", "/proc/keys"],
      timers: ["open-rw", "/proc/timer_list"],
      after: ["mounts"],
    });
    const answers = talk.answers((await root.run(tree, [], talk.command)).stdout);
    const readOnly = mounts.filter((mount) => mount.readOnly).map(({ point }) => point);
    const gaveWay = [
      ...mounts.filter(({ point }) => answers.line(`umount ${point}`).error !== "EINVAL"), // locked: umount(2)
      ...readOnly.filter((point) => answers.line(`remount-rw ${point}`).error !== "EPERM"),
    ];
    expect(gaveWay).toEqual([]);
    const refused = { sysctl: "EROFS", irq: "EROFS", runHost: "EROFS", sys: "EROFS", timers: "EACCES" };
    expect(answers.errors(["sysctl", "irq", "runHost", "sys", "timers"])).toEqual(refused);
    expect(answers.errors(["kallsyms", "keys"])).toEqual({ kallsyms: "EACCES", keys: "EACCES" });
    expect(lockedMounts(answers.text("after"))).toEqual(mounts);
  });

  test("/proc/sys/net is the machine's own, and writable", async () => {
    await using root = berthRoot();
    const path = "/proc/sys/net/ipv4/ip_default_ttl";
    const before = readFileSync(path, "utf8");
    const talk = interview({ write: ["write", path, "77"], read: ["cat", path] });
    const answers = talk.answers((await root.run(tree, [], talk.command)).stdout);
    expect(answers.line("write")["ok"]).toBe(true);
    expect(answers.text("read")).toBe("77\n");
    expect(readFileSync(path, "utf8")).toBe(before);
  });

  test("a fresh proc or sysfs cannot be mounted, an own tmpfs can", async () => {
    await using root = berthRoot();
    const mount = (type: string) => ["mount", type, "/root", type, "0", "-"];
    const talk = interview({ proc: mount("proc"), sysfs: mount("sysfs"), tmpfs: mount("tmpfs") });
    const answers = talk.answers((await root.run(tree, [], talk.command)).stdout);
    expect(answers.errors(["proc", "sysfs", "tmpfs"])).toEqual({ proc: "EPERM", sysfs: "EPERM", tmpfs: undefined });
  });

  test("/tmp is a mount that an init may take away when it shuts down", async () => {
    await using root = berthRoot();
    const talk = interview({ before: ["stat", "/tmp"], umount: ["umount", "/tmp"], after: ["mounts"] });
    const answers = talk.answers((await root.run(tree, [], talk.command)).stdout);
    expect(answers.line("before")).toMatchObject({ type: "directory", mode: 0o1777, uid: 0 });
    expect(answers.line("umount")["ok"]).toBe(true);
    expect(answers.text("after")).not.toContain(" /tmp ");
  });
});

test("its cgroup looks like a root and can be divided, and its limits are out of reach", async () => {
  await using root = berthRoot();
  const group = "/sys/fs/cgroup";
  const talk = interview({
    where: ["cat", "/proc/self/cgroup"],
    make: ["mkdir", `${group}/inner`],
    enter: ["write", `${group}/inner/cgroup.procs`, "0"],
    mine: ["stat", `${group}/cgroup.procs`],
    limit: ["stat", `${group}/cgroup.max.depth`],
    raise: ["write", `${group}/cgroup.max.depth`, "9"],
  });
  const answers = talk.answers((await root.run(tree, [], talk.command)).stdout);
  expect(answers.text("where")).toMatch(/^0::\/$/m);
  expect(answers.errors(["make", "enter", "raise"])).toEqual({ make: undefined, enter: undefined, raise: "EACCES" });
  expect([answers.line("mine")["uid"], answers.line("limit")["uid"]]).toEqual([0, 65534]);
});

describe("escape", () => {
  const setenv = (env: Readonly<Record<string, string>>) =>
    Object.entries(env).flatMap(([name, value]) => ["-E", `${name}=${value}`]);

  test("nothing escapes from a command", async () => {
    await using marks = await canaries();
    await using root = berthRoot();
    const { status, stdout } = await root.run(tree, setenv(marks.env), probe("escape"));
    const { held, escaped, skipped } = parseEscape(stdout);
    expect({ escaped, skipped, status }).toEqual({ escaped: [], skipped: [], status: 0 });
    expect(held.length).toBeGreaterThan(80);
  });

  test("nothing escapes from a machine that was booted", async () => {
    await using marks = await canaries();
    await using root = berthRoot();
    const booted = ["-D", await probeTree({ init: true }), "-b", "--console=read-only", ...setenv(marks.env)];
    await using child = root.start("run", ...booted, "--", "--term", "escape");
    await child.until(/^escape: \d+ held/m);
    child.kill("SIGTERM");
    expect((await child.end).status).toBe(0);
    expect(parseEscape(child.stdout)).toMatchObject({ escaped: [], skipped: [] });
  });

  test("with the host's network only what is the network's escapes, and berth says so", async () => {
    await using marks = await canaries();
    await using root = berthRoot();
    const { stdout, stderr } = await root.run(tree, ["-x", "--host-network", ...setenv(marks.env)], probe("escape"));
    const names = parseEscape(stdout).escaped.map((line) => line.split(" ")[0]);
    expect(names).toEqual(["namespace:net", "host:abstract-socket", "host:loopback"]);
    expect(stderr).toContain("weaker than the default: it shares the host's network");
  });
});
