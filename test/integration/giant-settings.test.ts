/**
 * Giant settings files: every setting that is in effect, each with a value that is not the default, in as few machines
 * as there are settings that exclude each other. Each machine is started once and looked at key by key.
 */
import { execFileSync } from "node:child_process";
import { appendFileSync, existsSync, lstatSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SETTINGS } from "../../src/config/settings.ts";
import type { MachineView } from "../../src/manager/machine-view.ts";
import { capabilityNumber } from "../../src/spec/capabilities.ts";
import { type BerthRoot, berthRoot, buildBerth, type End } from "../lib/berth.ts";
import { type HostUser, hostUser } from "../lib/host-user.ts";
import { type Answers, interview } from "../lib/interview.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { parseMounts } from "../lib/mounts.ts";
import { probeTree } from "../lib/probe.ts";
import { missing, needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:ip", "tool:useradd");
/** Those that no default is below can only be raised with it. */
const mayRaise = missing("cap:CAP_SYS_RESOURCE") === undefined;

const ID = "0123456789abcdef0123456789abcdef";
const NETWORK = `berth-giant-${process.pid}`;
const X64 = process.arch === "x64";
const CALLS = X64
  ? { mkdir: "83", keyctl: "250", fsync: "74", socket: "41" }
  : { mkdir: "34", keyctl: "219", fsync: "82", socket: "198" };
const CPU = /^Cpus_allowed_list:\s*(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";

/** What is on the host for the machines. */
interface World {
  readonly root: BerthRoot;
  readonly user: HostUser;
  readonly source: string;
}

const TALK = interview({
  rootWrite: ["write", "/new", "x"],
  varWrite: ["write", "/var/new", "x"],
  oldRoot: ["stat", "/mnt/deploy/probe"],
  ids: ["ids"],
  process: ["process"],
  env: ["env"],
  cwd: ["cwd"],
  hostname: ["hostname"],
  limits: ["limits"],
  links: ["cat", "/proc/self/net/dev"],
  mounts: ["mounts"],
  status: ["cat", "/proc/self/status"],
  uidMap: ["cat", "/proc/self/uid_map"],
  init: ["cat", "/proc/1/cmdline"],
  owner: ["stat", "/probe"],
  machineId: ["cat", "/etc/machine-id"],
  resolvConf: ["cat", "/etc/resolv.conf"],
  zone: ["stat", "/etc/localtime"],
  keyctl: ["syscall", CALLS.keyctl, "0", "0", "0"],
  mkdir: ["syscall", CALLS.mkdir, X64 ? "0" : "-1", "0", "0"],
  fsync: ["syscall", CALLS.fsync, "-1"],
  inet: ["syscall", CALLS.socket, "2", "1", "0"],
  userRecord: ["cat", "/run/host/userdb/60514.user"],
  bound: ["cat", "/srv/bound/name"],
  boundWrite: ["write", "/srv/bound/written", "x"],
  readOnly: ["cat", "/srv/read-only/name"],
  readOnlyWrite: ["write", "/srv/read-only/written", "x"],
  temporary: ["stat", "/srv/temporary"],
  temporaryWrite: ["write", "/srv/temporary/new", "x"],
  overlay: ["stat", "/srv/overlay/name"],
  overlayText: ["cat", "/srv/overlay/name"],
  merged: ["ls", "/srv/merged"],
  covered: ["cat", "/etc/os-release"],
});
type Question = Parameters<ReturnType<typeof TALK.answers>["line"]>[0];

interface Seen extends World {
  readonly answers: Answers<Question>;
  readonly tree: string;
  readonly end: { readonly status: number | null; readonly stderr: string };
  /** berth's record of a machine that was booted, when it was ready. */
  readonly record: ReturnType<BerthRoot["record"]>;
  /** How berthd dealt with a machine, where one did. */
  readonly managed?: Managed;
}

interface Managed {
  /** As `berth list` had it in the end. */
  readonly view: MachineView | undefined;
  /** Between the end of a boot and the next one, ms. */
  readonly pause: number;
  readonly poweroff: End;
}

interface Row {
  readonly lines: string | readonly string[] | ((world: World) => string);
  readonly check: (seen: Seen) => void;
}

const set = (seen: Seen, name: string, capability: string): boolean =>
  ((BigInt(`0x${seen.answers.line("ids")[name]}`) >> BigInt(capabilityNumber(capability) ?? 63)) & 1n) === 1n;
const line = (question: Question, expected: object) => (seen: Seen) =>
  expect(seen.answers.line(question)).toMatchObject(expected);
/** Without a socket, which RestrictAddressFamilies= refuses. */
const linksIn = (answers: Seen["answers"]): string[] =>
  [...answers.text("links").matchAll(/^\s*(\S+):/gm)].map(([, name = ""]) => name);
const limit = (name: string, lines: string, soft: number | null, hard: number | null): Row => ({
  lines,
  check: line("limits", { [name]: { soft, hard } }),
});

/** A command as PID 2 and an ordinary user, in a throw-away copy. */
const COMMAND: Readonly<Record<string, Row>> = {
  Boot: { lines: "no", check: ({ answers }) => expect(answers.text("init")).not.toContain("/sbin/init") },
  ProcessTwo: { lines: "yes", check: line("process", { pid: 2, ppid: 1 }) },
  Ephemeral: {
    lines: "yes",
    check: ({ answers }) => expect(parseMounts(answers.text("mounts")).get("/")).toMatchObject({ type: "overlay" }),
  },
  Parameters: { lines: TALK.command.join(" "), check: (seen) => expect(seen.end.status).not.toBe(125) },
  Environment: {
    lines: ['GREETING="good day" EMPTY=', "LANG=C.UTF-8"],
    check: line("env", { env: { GREETING: "good day", EMPTY: "", LANG: "C.UTF-8" } }),
  },
  User: { lines: "alice", check: line("ids", { uid: 1000, euid: 1000, gid: 1000, groups: [1000] }) },
  WorkingDirectory: { lines: "/srv/work", check: line("cwd", { cwd: "/srv/work" }) },
  Capability: {
    lines: ["CAP_SYS_TIME", "CAP_IPC_LOCK"],
    check: (seen) => expect(set(seen, "bounding", "CAP_IPC_LOCK")).toBe(true),
  },
  DropCapability: {
    lines: "CAP_MKNOD CAP_SYS_TIME",
    check: (seen) =>
      expect(["CAP_MKNOD", "CAP_SYS_TIME"].map((name) => set(seen, "bounding", name))).toEqual([false, false]),
  },
  AmbientCapability: {
    lines: "CAP_KILL",
    check: (seen) =>
      expect([set(seen, "ambient", "CAP_KILL"), set(seen, "ambient", "CAP_CHOWN")]).toEqual([true, false]),
  },
  NoNewPrivileges: { lines: "yes", check: line("ids", { noNewPrivileges: true }) },
  Personality: {
    lines: X64 ? "x86" : "arm",
    check: (seen) => {
      if (X64) line("hostname", { machine: "i686" })(seen);
      else expect(seen.answers.line("process")["personality"]).toMatch(/8$/);
    },
  },
  MachineID: {
    lines: ID,
    check: line("env", { env: { container_uuid: "01234567-89ab-cdef-0123-456789abcdef" } }),
  },
  PrivateUsers: {
    lines: "pick",
    check: ({ answers }) => expect(answers.text("uidMap").trim()).toMatch(/^0\s+[1-9]\d{4,}\s+65536$/),
  },
  PrivateUsersOwnership: { lines: "map", check: line("owner", { uid: 0, gid: 0 }) },
  SystemCallFilter: {
    lines: ["keyctl", "~mkdir mkdirat"],
    check: (seen) => {
      expect(seen.answers.line("mkdir")["errno"]).toBe("EPERM");
      expect(seen.answers.line("keyctl")["errno"]).not.toBe("EPERM");
    },
  },
  SuppressSync: { lines: "yes", check: line("fsync", { result: 0, errno: null }) },
  RestrictAddressFamilies: { lines: "AF_UNIX", check: line("inet", { errno: "EAFNOSUPPORT" }) },
  OOMScoreAdjust: { lines: "321", check: line("process", { oomScoreAdj: "321" }) },
  CPUAffinity: {
    lines: CPU,
    check: ({ answers }) => expect(answers.text("status")).toMatch(new RegExp(`^Cpus_allowed_list:\\s*${CPU}$`, "m")),
  },
  Hostname: { lines: "giant.example", check: line("hostname", { hostname: "giant.example" }) },
  ResolvConf: {
    lines: "copy-host",
    check: ({ answers }) => expect(answers.text("resolvConf")).toBe(readFileSync("/etc/resolv.conf", "utf8")),
  },
  Timezone: {
    lines: "copy",
    check: (seen) => line("zone", { type: "file", size: statSync("/etc/localtime").size })(seen),
  },
  LimitCPU: limit("cpu", "1h:2h", 3600, 7200),
  LimitFSIZE: limit("fsize", "1G:2G", 2 ** 30, 2 ** 31),
  LimitDATA: limit("data", "3G", 3 * 2 ** 30, 3 * 2 ** 30),
  LimitSTACK: limit("stack", "1M:2M", 2 ** 20, 2 ** 21),
  LimitCORE: limit("core", "infinity", null, null),
  LimitRSS: limit("rss", "1G:infinity", 2 ** 30, null),
  LimitNOFILE: limit("nofile", "16:600", 16, 600),
  LimitAS: limit("as", "4G", 2 ** 32, 2 ** 32),
  LimitNPROC: limit("nproc", "50:100", 50, 100),
  LimitMEMLOCK: limit("memlock", "16K:32K", 2 ** 14, 2 ** 15),
  LimitLOCKS: limit("locks", "7", 7, 7),
  LimitSIGPENDING: limit("sigpending", "8:9", 8, 9),
  LimitMSGQUEUE: limit("msgqueue", "1K:2K", 2 ** 10, 2 ** 11),
  LimitNICE: mayRaise ? limit("nice", "+5:-5", 15, 25) : limit("nice", "0", 0, 0),
  LimitRTPRIO: mayRaise ? limit("rtprio", "1:2", 1, 2) : limit("rtprio", "0", 0, 0),
  LimitRTTIME: limit("rttime", "5ms:1s", 5000, 1_000_000),
  Bind: {
    lines: ({ source }) => `${source}:/srv/bound`,
    check: ({ answers, source }) => {
      expect(answers.text("bound")).toBe("of the host");
      // Owners stay the host's: to the machine's user it is a directory of nobody's.
      expect(answers.errors(["boundWrite"])).toEqual({ boundWrite: "EACCES" });
      expect(lstatSync(join(source, "name")).uid).toBe(0);
    },
  },
  BindReadOnly: {
    lines: ({ source }) => `${source}:/srv/read-only:norbind`,
    check: ({ answers }) => {
      expect(answers.text("readOnly")).toBe("of the host");
      expect(parseMounts(answers.text("mounts")).get("/srv/read-only")?.options).toContain("ro");
    },
  },
  TemporaryFileSystem: {
    lines: "/srv/temporary:mode=1777,size=64k",
    check: ({ answers }) => {
      line("temporary", { mode: 0o1777, uid: 0 })({ answers } as Seen);
      expect(answers.errors(["temporaryWrite"])).toEqual({ temporaryWrite: undefined });
    },
  },
  Overlay: {
    lines: ({ source }) => `${source}::/srv/overlay`,
    check: (seen) => {
      line("overlay", { uid: 0 })(seen);
      expect(seen.answers.text("overlayText")).toBe("of the host");
    },
  },
  OverlayReadOnly: {
    lines: ({ source }) => `${source}:+/home:/srv/merged`,
    check: ({ answers }) => {
      expect(answers.line("merged")["names"]).toEqual(expect.arrayContaining(["name", "alice"]));
      expect(parseMounts(answers.text("mounts")).get("/srv/merged")?.options).toContain("ro");
    },
  },
  // What links something is tested on a /var/log of its own: run-link-journal.test.ts.
  LinkJournal: {
    lines: "no",
    check: ({ answers }) => expect(answers.text("mounts")).not.toContain("/var/log/journal"),
  },
  Inaccessible: {
    lines: "/etc/os-release",
    check: ({ answers }) => expect(answers.errors(["covered"])).toEqual({ covered: "EACCES" }),
  },
  BindUser: {
    lines: ({ user }) => user.name,
    check: ({ answers, user }) => expect(answers.text("userRecord")).toContain(`"${user.name}"`),
  },
  BindUserShell: { lines: "/probe", check: ({ answers }) => expect(answers.text("userRecord")).toContain('"/probe"') },
  Private: {
    lines: "yes",
    check: ({ answers }) => expect(linksIn(answers)).toEqual(["lo"]),
  },
};

/** An init, in a tree of its own that is changed for it, and in a network that exists already. */
const BOOTED: Readonly<Record<string, Row>> = {
  Boot: { lines: "yes", check: ({ answers }) => expect(answers.text("init")).toContain("/sbin/init\0") },
  Parameters: {
    lines: ["--ready", "--term"],
    check: ({ answers }) => expect(answers.text("init")).toContain("\0--ready\0--term\0"),
  },
  NotifyReady: {
    lines: "yes",
    check: ({ record }) => {
      expect(record).toMatchObject({ ready: true, state: "running" });
      expect(record?.times.ready).toBeGreaterThanOrEqual(record?.times.executed ?? Number.NaN);
    },
  },
  // The probe heeds this one because of --term; its own would be SIGRTMIN+3.
  KillSignal: { lines: "SIGTERM", check: ({ end }) => expect(end.status).toBe(0) },
  PrivateUsersChown: { lines: "yes", check: ({ tree }) => expect(lstatSync(tree).uid).toBeGreaterThan(65535) },
  NamespacePath: {
    lines: `/run/netns/${NETWORK}`,
    check: ({ answers }) => expect(linksIn(answers)).toContain("inside7"),
  },
};

/** A directory of a tree, as it is on disk. */
const LOCKED: Readonly<Record<string, Row>> = {
  Parameters: { lines: TALK.command.join(" "), check: ({ answers }) => answers.line("ids") },
  ReadOnly: {
    lines: "yes",
    check: ({ answers }) =>
      expect(answers.errors(["rootWrite", "varWrite"])).toEqual({ rootWrite: "EROFS", varWrite: "EROFS" }),
  },
  PivotRoot: { lines: "/deploy:/mnt", check: line("oldRoot", { type: "file", uid: 0 }) },
};

/** A tree that is read-only but for a /var in memory. */
const VOLATILE: Readonly<Record<string, Row>> = {
  Parameters: { lines: TALK.command.join(" "), check: ({ answers }) => answers.line("ids") },
  Volatile: {
    lines: "state",
    check: ({ answers, tree }) => {
      expect(answers.errors(["rootWrite", "varWrite"])).toEqual({ rootWrite: "EROFS", varWrite: undefined });
      expect(parseMounts(answers.text("mounts")).get("/var")).toMatchObject({ type: "tmpfs" });
      expect(existsSync(join(tree, "var/new"))).toBe(false);
    },
  },
};

/** An init that berthd starts again when it is killed, until that is too often, and which does not end when it is asked. */
const MANAGED: Readonly<Record<string, Row>> = {
  Parameters: {
    lines: "--on-stop never",
    check: ({ managed }) => expect(managed?.poweroff.stderr).toContain("did not end"),
  },
  Restart: { lines: "on-failure", check: ({ managed }) => expect(managed?.view?.restarts).toBe(1) },
  RestartSec: { lines: "700ms", check: ({ managed }) => expect(managed?.pause).toBeGreaterThanOrEqual(700) },
  StartLimitBurst: { lines: "2", check: ({ managed }) => expect(managed?.view?.reason).toContain("after 2 starts") },
  StartLimitIntervalSec: {
    lines: "1min",
    check: ({ managed }) => expect(managed?.view?.reason).toContain(" within 60 s"),
  },
  TimeoutStopSec: {
    lines: "300ms",
    check: ({ managed }) => expect(managed?.poweroff.stderr).toContain("within 0.3 s, and was killed"),
  },
};

/** An init that never is ready. */
const LATE: Readonly<Record<string, Row>> = {
  NotifyReady: { lines: "yes", check: ({ end }) => expect(end.status).toBe(1) },
  TimeoutStartSec: {
    lines: "400ms",
    check: ({ end }) => expect(end.stderr).toContain("machine late was not ready within 0.4 s"),
  },
};

const MACHINES = {
  command: COMMAND,
  booted: BOOTED,
  locked: LOCKED,
  volatile: VOLATILE,
  managed: MANAGED,
  late: LATE,
} as const;

function textOf(rows: Readonly<Record<string, Row>>, world: World): string {
  return Object.entries(rows)
    .map(([key, { lines }]) => {
      const section = SETTINGS.find((setting) => setting.key === key)?.section;
      const values = typeof lines === "function" ? [lines(world)] : [lines].flat();
      return `[${section}]\n${values.map((value) => `${key}=${value}\n`).join("")}`;
    })
    .join("");
}

async function makeTree(at: string, init: boolean): Promise<string> {
  const tree = await probeTree({ at, init });
  for (const directory of ["srv/work", "home/alice"]) mkdirSync(join(tree, directory), { recursive: true });
  writeFileSync(join(tree, "etc/passwd"), "root:x:0:0::/root:/probe\nalice:x:1000:1000::/home/alice:/probe\n");
  appendFileSync(join(tree, "etc/group"), "root:x:0:\nalice:x:1000:\n");
  return tree;
}

/** A command, in a tree that is `inside` the machine's own. */
async function runCommand(world: World, name: keyof typeof MACHINES, inside = "."): Promise<Seen> {
  const { root } = world;
  const tree = join(root.machines, name);
  await makeTree(join(tree, inside), false);
  root.settings(name, textOf(MACHINES[name], world));
  const end = await root.berth("run", "-M", name, "--pipe");
  return { ...world, answers: TALK.answers(end.stdout), tree, end, record: null };
}

async function boot(world: World): Promise<Seen> {
  const { root } = world;
  const tree = await makeTree(join(root.machines, "booted"), true);
  root.settings("booted", textOf(BOOTED, world));
  await using machine = root.start("run", "-M", "booted", "--console=read-only");
  const record = await root.recordWhen("booted", ({ ready }) => ready);
  const joined = await root.berth("exec", "booted", "--", ...TALK.command);
  await root.berth("poweroff", "booted");
  const end = await machine.end;
  return { ...world, answers: TALK.answers(joined.stdout), tree, end, record };
}

/** By berthd, which is to end with the test's root. */
async function startLate(world: World): Promise<Seen> {
  const { root } = world;
  const tree = await makeTree(join(root.machines, "late"), false);
  writeFileSync(join(tree, "sbin/init"), "#!/probe init\n", { mode: 0o755 });
  root.settings("late", textOf(LATE, world));
  return { ...world, answers: TALK.answers(""), tree, end: await root.berth("start", "late"), record: null };
}

async function manage(world: World): Promise<Seen> {
  const { root } = world;
  const tree = await makeTree(join(root.machines, "managed"), true);
  root.settings("managed", textOf(MANAGED, world));
  const start = (): Promise<End> => root.berth("start", "managed");
  await start();
  const poweroff = await root.berth("poweroff", "managed");
  const end = await start();
  const first = await root.recordWhen("managed");
  process.kill(first.leader.pid, "SIGKILL");
  const began = performance.now();
  const second = await root.recordWhen("managed", ({ leader }) => leader.pid !== first.leader.pid);
  const pause = performance.now() - began;
  process.kill(second.leader.pid, "SIGKILL");
  const ended = await root.berth("wait", "managed", "stopped");
  if (ended.status !== 0) throw new Error(ended.stderr);
  const views: readonly MachineView[] = JSON.parse((await root.berth("list", "--json")).stdout);
  const view = views.find(({ name }) => name === "managed");
  return { ...world, answers: TALK.answers(""), tree, end, record: first, managed: { view, pause, poweroff } };
}

describe("a giant settings file", () => {
  checkLeaks();
  const seen = new Map<string, Seen>();
  const stack = new AsyncDisposableStack();

  beforeAll(async () => {
    if (!ready) return;
    buildBerth();
    const root = stack.use(berthRoot());
    const user = stack.use(hostUser(root.directory("home", 0o700), `berth-g${process.pid}`));
    execFileSync("ip", ["netns", "add", NETWORK]);
    stack.defer(() => void execFileSync("ip", ["netns", "del", NETWORK]));
    execFileSync("ip", ["-n", NETWORK, "link", "add", "inside7", "type", "veth", "peer", "name", "inside8"]);
    const source = root.directory("source");
    writeFileSync(join(source, "name"), "of the host");
    const world = { root, user, source };
    seen.set("command", await runCommand(world, "command"));
    seen.set("locked", await runCommand(world, "locked", "deploy"));
    seen.set("volatile", await runCommand(world, "volatile"));
    seen.set("booted", await boot(world));
    seen.set("managed", await manage(world));
    seen.set("late", await startLate(world));
  });
  afterAll(() => stack.disposeAsync());

  for (const [name, rows] of Object.entries(MACHINES))
    test.each(Object.keys(rows))(`${name}: %s shows inside`, (key) => {
      const machine = seen.get(name);
      if (machine === undefined) throw new Error(`machine ${name} was not started`);
      rows[key]?.check(machine);
    });
});

test("no setting that is in effect is missing in them", () => {
  const given = new Set(Object.values(MACHINES).flatMap((rows) => Object.keys(rows)));
  const missing = SETTINGS.filter(({ key, state }) => state === "in effect" && !given.has(key)).map(({ key }) => key);
  expect(missing).toEqual([]);
});
