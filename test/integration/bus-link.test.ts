/** Objects that stay on a bus which comes and goes, who may call them, and a bus of berth's own. */
import { execFile, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { BusLink, type BusState } from "../../src/bus/bus-link.ts";
import type { Service } from "../../src/bus/bus-policy.ts";
import { Connection } from "../../src/bus/connection.ts";
import { type Interface, method, property, signal } from "../../src/bus/interface.ts";
import { ObjectServer } from "../../src/bus/object-server.ts";
import { authorise } from "../../src/bus/polkit.ts";
import { PrivateBus } from "../../src/bus/private-bus.ts";
import { closeQuietly } from "../../src/sys/files.ts";
import { connectStream, peerCredentials } from "../../src/sys/unix-stream.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";
import { startTestBus, type TestBus } from "../lib/test-bus.ts";

const ready = needs("root", "tool:dbus-daemon", "tool:busctl", "tool:gdbus", "tool:setpriv", "tool:pgrep");
checkLeaks();
const NAME = "org.berth.Test";
const PATH = "/org/berth/Test";
const IFACE = "org.berth.Test.Manager";
const openFds = (): number => readdirSync("/proc/self/fd").length;

async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const end = performance.now() + 15_000; !(await condition()); await sleep(10))
    if (performance.now() > end) throw new Error(`${what}: it never came to that`);
}

let level = 1;
const manager: Interface = {
  name: IFACE,
  methods: {
    Look: method({ in: "", out: "u", unprivileged: true, handler: () => level }),
    Change: method({
      in: "u",
      out: "",
      unprivileged: true,
      async handler(call, to) {
        await authorise(call, "org.berth.change", { verb: "change", to: `${to}` });
        level = to;
      },
    }),
    Rule: method({ in: "", out: "", handler: () => undefined }),
  },
  properties: {
    Level: property({ type: "u", emits: "true", read: () => level, write: () => undefined }),
  },
  signals: { Said: signal("s", ["text"]) },
};
const SERVICE: Service = { name: NAME, interfaces: [manager] };

function newServer(): ObjectServer {
  const server = new ObjectServer({
    onError: (error) => {
      throw error;
    },
  });
  server.export(PATH, [manager]);
  return server;
}

const busctlAt = async (address: string, ...args: string[]): Promise<string> =>
  (await promisify(execFile)("busctl", [`--address=${address}`, ...args], { timeout: 15_000 })).stdout;
/** gdbus, as it prints names and texts of errors. */
const asNobody = async (address: string, ...args: string[]): Promise<string> => {
  const words = ["--reuid=65534", "--regid=65534", "--clear-groups", "gdbus"];
  const all = [...words, ...args.slice(0, 1), "--address", address, ...args.slice(1)];
  return (await promisify(execFile)("setpriv", all, { timeout: 15_000 })).stdout.trim();
};
const call = (member: string, ...args: string[]): string[] => ["call", "-d", NAME, "-o", PATH, "-m", member, ...args];
const LOOK = call(`${IFACE}.Look`);
const RULE = call(`${IFACE}.Rule`);
const GET = call("org.freedesktop.DBus.Properties.Get", IFACE, "Level");
const change = (to: number): string[] => call(`${IFACE}.Change`, `${to}`);

describe("a link", () => {
  test("is made when the bus comes, and again after it was killed, ten times; nothing is left over", async () => {
    const bus = await startTestBus();
    await bus.kill();
    const before = openFds();
    const states: BusState[] = [];
    const server = newServer();
    const link = new BusLink({ address: bus.address, names: [NAME], server, onChange: (state) => states.push(state) });
    await link.start();
    expect(link.state).toMatchObject({ connected: false, problem: expect.stringMatching("ENOENT|ECONNREFUSED") });
    for (let round = 0; round < 10; round++) {
      await bus.start();
      await until(() => link.state.connected, "connected");
      expect(link.state.names).toEqual({ [NAME]: "ours" });
      expect(await busctlAt(bus.address, "call", NAME, PATH, IFACE, "Look")).toBe("u 1\n");
      await bus.kill();
      await until(() => !link.state.connected, "gone");
      // Nobody hears it, and nothing fails.
      server.emit(PATH, manager, "Said", ["into the void"]);
      await server.changed(PATH, manager, ["Level"]);
    }
    await link.stop();
    expect(link.state).toEqual({ connected: false, problem: undefined, names: {} });
    expect(states.filter(({ connected }) => connected).length).toBe(10);
    expect(openFds()).toBe(before);
    await bus.remove();
  });

  test("says that its name is somebody else's, or not for us, and is there without", async () => {
    const bus = await startTestBus('<policy user="root"><deny own="org.berth.Forbidden"/></policy>');
    const other = await Connection.open(bus.address);
    await other.requestName("org.berth.Taken");
    const logged: string[] = [];
    const names = [NAME, "org.berth.Taken", "org.berth.Forbidden"];
    const link = new BusLink({ address: bus.address, names, server: newServer(), log: (text) => logged.push(text) });
    await link.start();
    expect(link.state).toMatchObject({
      connected: true,
      names: { [NAME]: "ours", "org.berth.Taken": "taken", "org.berth.Forbidden": "refused" },
    });
    expect(logged).toEqual([
      "the name org.berth.Taken is somebody else's",
      expect.stringContaining("the bus does not let us have the name org.berth.Forbidden"),
    ]);
    await link.stop();
    other.close();
    await bus.remove();
  });

  test("can be stopped at any moment", async () => {
    const bus = await startTestBus();
    const before = openFds();
    for (let wait = 0; wait < 20; wait++) {
      const link = new BusLink({ address: bus.address, names: [NAME], server: newServer() });
      const starting = link.start();
      await sleep(wait / 4);
      await link.stop();
      await starting;
      await link.stop();
    }
    await sleep(20);
    expect(openFds()).toBe(before);
    await bus.remove();
  });
});

describe("who may call what", () => {
  let bus: TestBus;
  let link: BusLink;
  let polkit: Connection | undefined;
  /** What the fake polkit was asked, and what it says. */
  const asked: (readonly unknown[])[] = [];
  const cancelled: string[] = [];
  let decide: () => Promise<readonly [boolean, boolean, Record<string, string>]> = async () => [false, false, {}];

  beforeAll(async () => {
    if (!ready) return;
    bus = await startTestBus();
    link = new BusLink({ address: bus.address, names: [NAME], server: newServer() });
    await link.start();
  });
  afterAll(async () => {
    await link?.stop();
    await bus?.remove();
  });
  afterEach(() => {
    polkit?.close();
    asked.splice(0);
  });

  async function startPolkit(): Promise<void> {
    const server = newServer();
    server.export("/org/freedesktop/PolicyKit1/Authority", [
      {
        name: "org.freedesktop.PolicyKit1.Authority",
        methods: {
          CheckAuthorization: method({
            in: "(sa{sv})sa{ss}us",
            out: "(bba{ss})",
            unprivileged: true,
            handler: (_, ...question) => {
              asked.push(question);
              return decide();
            },
          }),
          CancelCheckAuthorization: method({ in: "s", out: "", handler: (_, id) => void cancelled.push(id) }),
        },
      },
    ]);
    polkit = await Connection.open(bus.address);
    server.attach(polkit);
    await polkit.requestName("org.freedesktop.PolicyKit1");
  }

  const changeAsRoot = (to: number) => busctlAt(bus.address, "call", NAME, PATH, IFACE, "Change", "u", `${to}`);

  test("root all, without anybody being asked; others what is open", async () => {
    await changeAsRoot(1);
    await busctlAt(bus.address, "call", NAME, PATH, IFACE, "Rule");
    expect(await asNobody(bus.publicAddress, ...LOOK)).toBe("(uint32 1,)");
    expect(await asNobody(bus.publicAddress, ...GET)).toBe("(<uint32 1>,)");
    await expect(asNobody(bus.publicAddress, ...RULE)).rejects.toThrow(
      "Access to org.berth.Test.Manager.Rule() not permitted.",
    );
    await expect(
      asNobody(bus.publicAddress, ...call("org.freedesktop.DBus.Properties.Set", IFACE, "Level", "<uint32 3>")),
    ).rejects.toThrow("Access to org.berth.Test.Manager.Level not permitted.");
  });

  test("without polkit others change nothing", async () => {
    await expect(asNobody(bus.publicAddress, ...change(5))).rejects.toThrow(
      "Access denied: only root may do this where no polkit runs.",
    );
    expect(level).toBe(1);
  });

  test("polkit is asked about the caller, and what it says is done", async () => {
    await startPolkit();
    decide = async () => [true, false, {}];
    await asNobody(bus.publicAddress, ...change(4));
    expect(level).toBe(4);
    expect(asked).toEqual([
      [
        ["system-bus-name", { name: { signature: "s", value: expect.stringMatching(/^:1\.\d+$/) } }],
        "org.berth.change",
        { verb: "change", to: "4" },
        0,
        "",
      ],
    ]);
    decide = async () => [false, false, {}];
    await expect(asNobody(bus.publicAddress, ...change(5))).rejects.toThrow("polkit does not grant org.berth.change");
    decide = async () => [false, true, {}];
    await expect(asNobody(bus.publicAddress, ...change(5))).rejects.toThrow("Interactive authentication required.");
    expect(level).toBe(4);
    await changeAsRoot(1);
  });

  test("a question to the user is taken back when the caller leaves", async () => {
    await startPolkit();
    let answer: (decision: readonly [boolean, boolean, Record<string, string>]) => void = () => undefined;
    decide = () =>
      new Promise((resolve) => {
        answer = resolve;
      });
    const caller = asNobody(bus.publicAddress, ...change(6), "--interactive", "--timeout", "1");
    await expect(caller).rejects.toThrow();
    await until(() => cancelled.length > 0, "cancelled");
    expect(asked[0]?.slice(3)).toEqual([1, cancelled[0]]);
    answer([false, false, {}]);
    expect(level).toBe(1);
  });
});

describe("berth's own bus", () => {
  let root = "";
  const buses: PrivateBus[] = [];
  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), "berth-test-own-bus-"));
  });
  afterEach(async () => {
    for (const bus of buses.splice(0)) await bus.stop();
    chmodSync(tmpdir(), 0o700); // machines of other tests are said to be weaker where users can come to their trees
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  function ownBus(name: string, services: readonly Service[] = [SERVICE], program?: string) {
    const run = join(root, name);
    mkdirSync(run, { recursive: true });
    const logged: string[] = [];
    const bus = new PrivateBus({ run, services, log: (text) => logged.push(text), ...(program ? { program } : {}) });
    buses.push(bus);
    return { bus, run, logged };
  }
  async function daemonPid(run: string): Promise<number> {
    const fd = await connectStream(join(run, "bus"));
    const { pid } = peerCredentials(fd);
    closeQuietly(fd);
    return pid;
  }

  test("is found again, and ends when told, where its rules can't be written any more", async () => {
    const { bus, run } = ownBus("full");
    await bus.start();
    const first = await daemonPid(run);
    bus.release();
    mkdirSync(join(run, "bus.conf.new")); // no file can be written there, as on a full disk
    const { bus: next, logged } = ownBus("full", []);
    await next.start();
    expect(await daemonPid(run)).toBe(first);
    expect(logged).toEqual([expect.stringContaining("keeps its rules: ")]);
    await next.stop();
    await until(() => !existsSync(`/proc/${first}`), "its end");
  });

  test("serves, outlives us, is found again and started again, and ends when told", async () => {
    const before = openFds();
    const { bus, run, logged } = ownBus("a");
    await bus.start();
    const link = new BusLink({ address: bus.address, names: [NAME], server: newServer() });
    await link.start();
    expect(await busctlAt(bus.address, ...["call", NAME, PATH, IFACE, "Look"])).toBe("u 1\n");
    const first = await daemonPid(run);
    bus.release();
    await sleep(50);
    expect(link.state.connected).toBe(true);

    const again = ownBus("a");
    await again.bus.start();
    expect(await daemonPid(run)).toBe(first);
    process.kill(first, "SIGKILL");
    await until(
      async () => existsSync(join(run, "bus")) && (await daemonPid(run).catch(() => first)) !== first,
      "restarted",
    );
    await until(() => link.state.connected, "linked again");
    expect(again.logged).toEqual(["berth's own bus ended, and is started again"]);
    expect(logged).toEqual([]);
    await link.stop();
    const second = await daemonPid(run);
    await again.bus.stop();
    await until(() => !existsSync(`/proc/${second}`), "ended");
    expect(readdirSync(run)).toEqual([]);
    expect(openFds()).toBe(before);
  });

  test("one that was left running ends, too", async () => {
    const { bus, run } = ownBus("left");
    await bus.start();
    const pid = await daemonPid(run);
    bus.release();
    await ownBus("left").bus.stop();
    await until(() => !existsSync(`/proc/${pid}`), "ended");
  });

  test("root may own and call all, others what is open and nothing else", async () => {
    const { bus, run } = ownBus("policy");
    for (const directory of [tmpdir(), root, run]) chmodSync(directory, 0o711);
    await bus.start();
    const link = new BusLink({ address: bus.address, names: [NAME], server: newServer() });
    await link.start();
    expect(link.state.names).toEqual({ [NAME]: "ours" });
    await busctlAt(bus.address, "call", NAME, PATH, IFACE, "Rule");
    expect(await asNobody(bus.address, ...LOOK)).toBe("(uint32 1,)");
    expect(await asNobody(bus.address, "introspect", "-d", NAME, "-o", PATH)).toContain("Look(");
    expect(await asNobody(bus.address, ...GET)).toBe("(<uint32 1>,)");
    await expect(asNobody(bus.address, ...change(1))).rejects.toThrow("only root may");
    await expect(asNobody(bus.address, ...RULE)).rejects.toThrow("AccessDenied: Rejected send message");
    const own = ["call", "-d", "org.freedesktop.DBus", "-o", "/", "-m", "org.freedesktop.DBus.RequestName", "a.b", "4"];
    await expect(asNobody(bus.address, ...own)).rejects.toThrow("not allowed to own");
    await link.stop();
  });

  test("another policy is heeded by the one that runs", async () => {
    const { bus, run } = ownBus("reload", []);
    for (const directory of [tmpdir(), root, run]) chmodSync(directory, 0o711);
    await bus.start();
    const pid = await daemonPid(run);
    const link = new BusLink({ address: bus.address, names: [NAME], server: newServer() });
    await link.start();
    const look = (): Promise<string> => asNobody(bus.address, ...LOOK);
    await expect(look()).rejects.toThrow("AccessDenied: Rejected send message");
    bus.release();
    await ownBus("reload").bus.start();
    await until(async () => (await look().catch(() => "")) === "(uint32 1,)", "allowed");
    expect(await daemonPid(run)).toBe(pid);
    await link.stop();
  });

  test.for([
    [
      "there is none",
      "/nonexistent/dbus-daemon",
      "berth's own bus did not start: there is no /nonexistent/dbus-daemon",
    ],
    ["it ends at once", "/bin/false", "berth's own bus did not start: it ended with 1"],
  ] as const)("what can't be started says so: %s", async ([, program, problem]) => {
    await expect(ownBus("broken", [], program).bus.start()).rejects.toThrow(problem);
  });

  test("a path that is too long says so", async () => {
    await expect(ownBus("long/".repeat(30)).bus.start()).rejects.toThrow("at most 107 bytes");
  });

  test("what these tests start is gone", () => {
    expect(spawnSync("pgrep", ["-f", root], { encoding: "utf8" }).stdout).toBe("");
  });
});

test("what comes to be no bus is asked less and less often", async () => {
  const directory = mkdtempSync(join(tmpdir(), "no-bus-"));
  const socket = join(directory, "socket");
  const times: number[] = [];
  const listener = createServer((client) => {
    times.push(performance.now());
    client.destroy();
  });
  await new Promise<void>((resolve) => listener.listen(socket, resolve));
  const link = new BusLink({
    address: `unix:path=${socket}`,
    server: newServer(),
    names: [NAME],
    log: () => undefined,
  });
  try {
    await link.start();
    await until(() => times.length >= 5, "the fifth attempt");
    const gaps = times.slice(1).map((time, at) => time - (times[at] ?? 0));
    // A timer may be a ms early; what is late is late.
    for (const [at, least] of [200, 400, 800, 1600].entries()) expect(gaps[at]).toBeGreaterThanOrEqual(least - 2);
  } finally {
    await link.stop();
    await new Promise((resolve) => listener.close(resolve));
    rmSync(directory, { recursive: true });
  }
});
