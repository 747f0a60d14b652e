/** Who may call what of the daemon on a bus: root all, others to look, and what polkit lets them. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, test } from "vitest";
import { Connection } from "../../src/bus/connection.ts";
import { method } from "../../src/bus/interface.ts";
import { ObjectServer } from "../../src/bus/object-server.ts";
import { openNull } from "../../src/sys/files.ts";
import { BERTH, type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { ASKED, OBJECTS, OPEN, REGISTERING, ROOTS, SIGNED, type SignedRow, TELLING } from "../lib/bus-access-rows.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";
import { startTestBus, type TestBus } from "../lib/test-bus.ts";

const ready = needs(
  "root",
  "userns",
  "cgroup2",
  "cc",
  "tool:dbus-daemon",
  "tool:gdbus",
  "tool:busctl",
  "tool:setpriv",
  "no-systemd",
);
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

async function asNobody(bus: TestBus, object: string, member: string, args: readonly string[]): Promise<string> {
  const [name = "", path = ""] = OBJECTS[object] ?? [];
  const call = ["call", "--address", bus.publicAddress, "-d", name, "-o", path, "-m", `${name}.${member}`, ...args];
  const words = ["--reuid=65534", "--regid=65534", "--clear-groups", "gdbus", ...call];
  try {
    return (await promisify(execFile)("setpriv", words, { timeout: 15_000 })).stdout.trim();
  } catch (error) {
    return String((error as { stderr?: string }).stderr).trim();
  }
}

/** Of the words that busctl would be given; an fd is one of /dev/null. */
function valuesOf(signature: string, words: readonly string[]): readonly unknown[] {
  const left = [...words];
  const next = (): string => left.shift() ?? "";
  const types = signature.match(/as|./g) ?? [];
  return types.map((type) => {
    if (type === "as") return Array.from({ length: Number(next()) }, next);
    const word = next();
    if (type === "b") return word === "true";
    if (type === "t") return BigInt(word);
    return type === "h" ? openNull() : type === "s" ? word : Number(word);
  });
}

/** What `nobody` is told. */
async function refusal(client: Connection, [object, member, signature, args]: SignedRow): Promise<string> {
  const [name = "", path = ""] = OBJECTS[object] ?? [];
  const full = `${name}.${member}`;
  const at = full.lastIndexOf(".");
  const call = { destination: name, path, interface: full.slice(0, at), member: full.slice(at + 1), out: "" as const };
  try {
    await client.call({ ...call, in: signature as "", args: valuesOf(signature, args) as [] });
    return "was done";
  } catch (error) {
    return String(error);
  }
}

/** Its uid is what the kernel says when it connects. */
async function connectAsNobody(bus: TestBus): Promise<Connection> {
  process.seteuid?.(65534);
  try {
    return await Connection.open(bus.publicAddress);
  } finally {
    process.seteuid?.(0);
  }
}

/** By introspection, `object member`. */
async function methodsOf(bus: TestBus): Promise<readonly string[]> {
  const found = Object.entries(OBJECTS).map(async ([object, [name, path]]) => {
    const words = ["introspect", "--address", bus.publicAddress, "-d", name, "-o", path, "--xml"];
    const { stdout } = await promisify(execFile)("gdbus", words, { timeout: 15_000 });
    const own = [...stdout.matchAll(/<interface name="([^"]+)">(.*?)<\/interface>/gs)];
    return own
      .filter(([, each]) => each?.startsWith("org.freedesktop.DBus.") === false)
      .flatMap(([, , text = ""]) =>
        [...text.matchAll(/<method name="([^"]+)"/g)].map(([, member]) => `${object} ${member}`),
      );
  });
  return (await Promise.all(found)).flat();
}

/** One that says no, and what it was asked. */
async function startPolkit(bus: TestBus) {
  const asked: [string, Readonly<Record<string, string>>][] = [];
  const server = new ObjectServer({ onError: console.error });
  const CheckAuthorization = method({
    in: "(sa{sv})sa{ss}us",
    out: "(bba{ss})",
    unprivileged: true,
    handler(_, _subject, action, details): [boolean, boolean, Record<string, string>] {
      asked.push([action, details]);
      return [false, false, {}];
    },
  });
  server.export("/org/freedesktop/PolicyKit1/Authority", [
    { name: "org.freedesktop.PolicyKit1.Authority", methods: { CheckAuthorization } },
  ]);
  const connection = await Connection.open(bus.address);
  server.attach(connection);
  await connection.requestName("org.freedesktop.PolicyKit1");
  return { asked, close: () => connection.close() };
}

async function onTestBus(root: BerthRoot, bus: TestBus): Promise<void> {
  await probeTree({ at: join(root.machines, "m"), init: true });
  const env = { DBUS_SYSTEM_BUS_ADDRESS: bus.address };
  const start = root.spawn([BERTH, "daemon", "start"], { env });
  expect((await start.end).status).toBe(0);
  expect(JSON.parse((await root.berth("daemon", "status", "--json")).stdout).bus).toBe(bus.address);
  expect((await root.berth("start", "m")).status).toBe(0);
}

describe("an unprivileged caller", () => {
  test("looks, and does what polkit allows, which is asked about each thing", async () => {
    await using root = berthRoot();
    const bus = await startTestBus();
    try {
      await onTestBus(root, bus);
      for (const [object, member, args] of OPEN)
        expect([member, await asNobody(bus, object, member, args)]).toEqual([member, expect.stringMatching(/^\(/)]);
      const alone = await asNobody(bus, "machine1", "Manager.TerminateMachine", ["m"]);
      expect(alone).toContain("AccessDenied: Access denied: only root may do this where no polkit runs.");

      const { asked, close } = await startPolkit(bus);
      for (const [object, member, args, action, details] of ASKED) {
        const answer = await asNobody(bus, object, member, args);
        expect([member, answer]).toEqual([member, expect.stringContaining(`polkit does not grant ${action}.`)]);
        expect([member, asked.splice(0)]).toEqual([member, [[action, details]]]);
      }
      const client = await connectAsNobody(bus);
      for (const row of SIGNED) {
        const [, member, , , action, details] = row;
        expect([member, await refusal(client, row)]).toEqual([
          member,
          expect.stringContaining(`polkit does not grant ${action}.`),
        ]);
        expect([member, asked.splice(0)]).toEqual([member, [[action, details]]]);
      }
      client.close();
      for (const [object, member, args] of ROOTS) {
        const answer = await asNobody(bus, object, member, args);
        expect([member, answer]).toEqual([member, expect.stringContaining("AccessDenied: Access to")]);
      }
      // None that is new is without a row.
      const rows = [...ASKED, ...SIGNED, ...ROOTS, ...OPEN].map(
        ([object, member]) => `${object} ${member.split(".").at(-1)}`,
      );
      const telling = Object.entries(TELLING).flatMap(([object, members]) =>
        members.map((each) => `${object} ${each}`),
      );
      const known = [...rows, ...telling, ...REGISTERING.map((member) => `machine1 ${member}`)];
      expect([...(await methodsOf(bus))].sort()).toEqual([...new Set(known)].sort());
      // The object comes first, as in machined.
      const nobody = await asNobody(bus, "machine1", "Manager.TerminateMachine", ["nobody"]);
      expect(nobody).toContain("org.freedesktop.machine1.NoSuchMachine: No machine 'nobody' known");
      expect(asked).toEqual([]);
      close();
      expect(root.record("m")).toMatchObject({ state: "running" });
      expect((await root.berth("terminate", "m")).status).toBe(0);
    } finally {
      await root.berth("daemon", "stop");
      await bus.remove();
    }
  });
});
