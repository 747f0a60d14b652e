/** Objects on a real bus, as busctl, gdbus and dbus-send see them. */
import { execFile } from "node:child_process";
import { closeSync, fstatSync, openSync, readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { Connection } from "../../src/bus/connection.ts";
import { DBusError } from "../../src/bus/dbus-error.ts";
import { type Interface, method, property, signal } from "../../src/bus/interface.ts";
import { escapeElement, unescapeElement } from "../../src/bus/names.ts";
import { ObjectServer } from "../../src/bus/object-server.ts";
import { variant } from "../../src/bus/values.ts";
import { BerthError } from "../../src/errors.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";
import { startTestBus, type TestBus } from "../lib/test-bus.ts";

const ready = needs("tool:dbus-daemon", "tool:busctl", "tool:gdbus", "tool:dbus-send");
checkLeaks({ scope: "file" });
const NAME = "org.berth.Test";
const PATH = "/org/berth/Test";
const IFACE = "org.berth.Test.Manager";
const openFds = (): number => readdirSync("/proc/self/fd").length;

let bus: TestBus;
let server: ObjectServer;
let owner: Connection;
let client: Connection;
const errors: string[] = [];
const ports = new Map([
  ["a-b", 1],
  ["web", 2],
]);
let level = 1;
let logReads = 0;

const manager: Interface = {
  name: IFACE,
  methods: {
    Join: method({
      in: "sas",
      out: "s",
      inNames: ["separator", "words"],
      outNames: ["text"],
      handler: (_, separator, words) => words.join(separator),
    }),
    Two: method({ in: "", out: "ub", outNames: ["number", "flag"], handler: () => [7, true] }),
    Nothing: method({
      in: "",
      out: "",
      annotations: { "org.freedesktop.DBus.Deprecated": "true" },
      handler: () => undefined,
    }),
    Open: method({ in: "s", out: "h", handler: (_, path) => openSync(path, "r") }),
    Size: method({ in: "h", out: "t", handler: (_, fd) => fstatSync(fd).size }),
    Keep: method({
      in: "h",
      out: "",
      handler(call) {
        kept.push(...call.takeFds());
      },
    }),
    Fail: method({
      in: "s",
      out: "",
      async handler(_, kind) {
        await sleep(1);
        if (kind === "named") throw new DBusError("org.berth.Refused", "Not today.");
        if (kind === "berth")
          throw new BerthError("there is no machine x\nand more", { kind: "NoSuchMachine", hint: "look" });
        throw new TypeError("secret is undefined");
      },
    }),
    Wrong: method({ in: "", out: "o", handler: () => "no path" }),
    WhoAmI: method({ in: "", out: "u", handler: async (call) => (await call.credentials()).uid }),
    Secret: method({ in: "", out: "s", hidden: true, handler: () => "found" }),
    Emit: method({
      in: "",
      out: "",
      handler(call) {
        server.emit(PATH, manager, "Said", ["to all", 1]);
        server.emit(PATH, manager, "Said", ["to you", 2], call);
      },
    }),
  },
  properties: {
    Level: property({
      type: "u",
      emits: "true",
      read: () => level,
      async write(_, value) {
        if (value > 10) throw new DBusError("InvalidArgs", "The level is at most 10.");
        level = value;
        await server.changed(PATH, manager, ["Level", "Log"]);
      },
    }),
    Log: property({
      type: "as",
      emits: "invalidates",
      async read() {
        logReads++;
        return [`level ${level}`];
      },
    }),
    Version: property({ type: "s", emits: "const", read: () => "1" }),
    Load: property({ type: "t", emits: "false", read: () => 2n ** 63n }),
  },
  signals: { Said: signal("su", ["text", "number"]) },
};

const port = (number: number): Interface => ({
  name: "org.berth.Test.Port",
  properties: { Number: property({ type: "u", emits: "const", read: () => number }) },
});
const kept: number[] = [];

beforeAll(async () => {
  if (!ready) return;
  bus = await startTestBus();
  server = new ObjectServer({ onError: (error, call) => errors.push(`${call}: ${String(error)}`) });
  server.export(PATH, [manager]);
  server.addSubtree(`${PATH}/port`, {
    find: (element) => {
      const number = ports.get(unescapeElement(element) ?? "");
      return number === undefined ? undefined : [port(number)];
    },
    list: async () => [...ports.keys()].map(escapeElement),
  });
  owner = await Connection.open(bus.address);
  server.attach(owner);
  await owner.requestName(NAME);
  client = await Connection.open(bus.address);
});
afterAll(async () => {
  owner?.close();
  client?.close();
  await bus?.remove();
});
afterEach(() => {
  errors.splice(0);
});

function call<const I extends string, const O extends string>(
  member: string,
  signature: I,
  args: Parameters<typeof client.call<I, O>>[0]["args"],
  out: O,
) {
  return client.call<I, O>({ destination: NAME, path: PATH, interface: IFACE, member, in: signature, args, out });
}

async function run(program: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(program, args, { timeout: 10_000 });
  return stdout;
}
const busctl = (...args: string[]): Promise<string> => run("busctl", `--address=${bus.address}`, ...args);

describe("methods", () => {
  test("answer nothing, one value, several", async () => {
    expect(await call("Join", "sas", ["-", ["a", "b"]], "s")).toEqual(["a-b"]);
    expect(await call("Two", "", [], "ub")).toEqual([7, true]);
    expect(await call("Nothing", "", [], "")).toEqual([]);
    expect(await call("WhoAmI", "", [], "u")).toEqual([process.getuid?.()]);
  });

  test("give and take fds, and close those that nobody keeps", async () => {
    const before = openFds();
    const [fd] = await call("Open", "s", ["/proc/self/status"], "h");
    expect(readFileSync(fd, "utf8")).toContain("Name:");
    closeSync(fd);
    expect(await call("Size", "h", [openSync("/etc/passwd", "r")], "t")).toEqual([
      BigInt(readFileSync("/etc/passwd").length),
    ]);
    await expect(call("Join", "h", [openSync("/etc/passwd", "r")], "")).rejects.toThrow("Invalid arguments 'h'");
    expect(openFds()).toBe(before);
    await call("Keep", "h", [openSync("/etc/passwd", "r")], "");
    expect(kept.length).toBe(1);
    expect(fstatSync(kept[0] ?? -1).size).toBeGreaterThan(0);
    closeSync(kept[0] ?? -1);
    expect(openFds()).toBe(before);
  });

  test.for([
    ["Fail", "s", ["named"], "org.berth.Refused", "Not today."],
    ["Fail", "s", ["berth"], "org.freedesktop.machine1.NoSuchMachine", "there is no machine x"],
    ["Fail", "s", ["bug"], "org.freedesktop.DBus.Error.Failed", "Fail failed; the log of the daemon says why."],
    ["Wrong", "", [], "org.freedesktop.DBus.Error.Failed", "Wrong failed; the log of the daemon says why."],
    [
      "Join",
      "ss",
      ["a", "b"],
      "org.freedesktop.DBus.Error.InvalidArgs",
      "Invalid arguments 'ss' to call org.berth.Test.Manager.Join(), expecting 'sas'.",
    ],
    [
      "Missing",
      "",
      [],
      "org.freedesktop.DBus.Error.UnknownMethod",
      "Unknown method Missing or interface org.berth.Test.Manager.",
    ],
    [
      "constructor",
      "",
      [],
      "org.freedesktop.DBus.Error.UnknownMethod",
      "Unknown method constructor or interface org.berth.Test.Manager.",
    ],
  ] as const)("%s(%s %j) fails as %s", async ([member, signature, args, errorName, message]) => {
    const request = { destination: NAME, path: PATH, interface: IFACE, member, in: signature as string, args, out: "" };
    await expect(client.call(request)).rejects.toMatchObject({ errorName, message });
    // Only what was not meant for anybody is logged.
    expect(errors.length).toBe(message.includes("log of the daemon") ? 1 : 0);
  });

  test("an object that is not there", async () => {
    for (const path of [
      "/org/berth/Test/nope",
      "/org/berth/Test/port/nope",
      "/org/berth",
      "/org/berth/Test/port/a-b".replace("-", "_"),
    ]) {
      const request = {
        destination: NAME,
        path,
        interface: IFACE,
        member: "Nothing",
        in: "",
        args: [],
        out: "",
      } as const;
      await expect(client.call(request)).rejects.toMatchObject({
        errorName: "org.freedesktop.DBus.Error.UnknownObject",
        message: `Unknown object '${path}'.`,
      });
    }
  });

  test("a body that lies about itself is refused, and the connection goes on", async () => {
    // The bus checks what it can: an fd number is not among it.
    const [fd] = await call("Open", "s", ["/proc/self/status"], "h");
    closeSync(fd);
    await expect(call("Size", "h", [openSync("/dev/null", "r")], "t")).resolves.toEqual([0n]);
    expect(await call("Nothing", "", [], "")).toEqual([]);
  });
});

describe("properties", () => {
  test("are read, written and told", async () => {
    const heard: unknown[] = [];
    const unsubscribe = await client.subscribe({ sender: NAME, member: "PropertiesChanged" }, ({ body }) =>
      heard.push(body),
    );
    expect(await busctl("get-property", NAME, PATH, IFACE, "Level", "Load", "Log")).toBe(
      'u 1\nt 9223372036854775808\nas 1 "level 1"\n',
    );
    await busctl("set-property", NAME, PATH, IFACE, "Level", "u", "5");
    expect(level).toBe(5);
    for (let waited = 0; heard.length < 1 && waited < 20_000; waited += 10) await sleep(10);
    expect(heard).toEqual([[IFACE, { Level: variant("u", 5) }, ["Log"]]]);
    await expect(busctl("set-property", NAME, PATH, IFACE, "Level", "u", "11")).rejects.toThrow(
      "The level is at most 10.",
    );
    await expect(busctl("set-property", NAME, PATH, IFACE, "Level", "s", "x")).rejects.toThrow("expected 'u', got 's'");
    await expect(busctl("set-property", NAME, PATH, IFACE, "Version", "s", "x")).rejects.toThrow(
      "Property 'Version' is not writable.",
    );
    await expect(busctl("get-property", NAME, PATH, IFACE, "Nope")).rejects.toThrow(
      "Unknown interface org.berth.Test.Manager or property Nope.",
    );
    level = 1;
    unsubscribe();
  });

  test("are read once a call, and have the value of that moment, however often they are asked for", async () => {
    const ask = (name: string) =>
      client.call({
        ...{ destination: NAME, path: PATH, interface: "org.freedesktop.DBus.Properties", member: "Get" },
        ...{ in: "ss", args: [IFACE, name], out: "v" },
      });
    const reads = logReads;
    for (level = 2; level < 6; level++) {
      expect(await ask("Level")).toEqual([variant("u", level)]);
      expect(await ask("Log")).toEqual([variant("as", [`level ${level}`])]);
      expect(await ask("Load")).toEqual([variant("t", 2n ** 63n)]);
    }
    expect(logReads - reads).toBe(4);
    level = 1;
    // Sent in one go, as they come when the daemon is busy.
    expect(await Promise.all(["Level", "Level", "Version", "Level"].map(ask))).toEqual(
      [variant("u", 1), variant("u", 1), variant("s", "1"), variant("u", 1)].map((value) => [value]),
    );
  });

  test("all at once, and of no interface that is there", async () => {
    const get = (name: string) =>
      client.call({
        destination: NAME,
        path: PATH,
        interface: "org.freedesktop.DBus.Properties",
        member: "GetAll",
        in: "s",
        args: [name],
        out: "a{sv}",
      });
    const [all] = await get(IFACE);
    expect(Object.keys(all)).toEqual(["Level", "Log", "Version", "Load"]);
    expect(await get("")).toEqual([all]);
    await expect(get("a.b")).rejects.toMatchObject({ errorName: "org.freedesktop.DBus.Error.UnknownInterface" });
  });
});

test("signals reach all who listen, or one", async () => {
  const other = await Connection.open(bus.address);
  const [mine, theirs]: [unknown[], unknown[]] = [[], []];
  await client.subscribe({ sender: NAME, interface: IFACE, member: "Said" }, ({ body }) => mine.push(body[0]));
  await other.subscribe({ sender: NAME, interface: IFACE, member: "Said" }, ({ body }) => theirs.push(body[0]));
  await call("Emit", "", [], "");
  for (let waited = 0; (mine.length < 2 || theirs.length < 1) && waited < 20_000; waited += 10) await sleep(10);
  expect(mine).toEqual(["to all", "to you"]);
  expect(theirs).toEqual(["to all"]);
  other.close();
});

describe("introspection", () => {
  test("busctl sees all members but hidden ones", async () => {
    const rows = (await busctl("introspect", NAME, PATH, IFACE))
      .trim()
      .split("\n")
      .slice(1)
      .map((line) => line.trim().replaceAll(/ +/g, " "));
    expect(rows).toEqual([
      ".Emit method - - -",
      ".Fail method s - -",
      ".Join method sas s -",
      ".Keep method h - -",
      ".Nothing method - - deprecated",
      ".Open method s h -",
      ".Size method h t -",
      ".Two method - ub -",
      ".WhoAmI method - u -",
      ".Wrong method - o -",
      ".Level property u 1 emits-change writable",
      ".Load property t 9223372036854775808 -",
      '.Log property as 1 "level 1" emits-invalidation',
      '.Version property s "1" const',
      ".Said signal su - -",
    ]);
    expect(await busctl("call", NAME, PATH, IFACE, "Secret")).toBe('s "found"\n');
  });

  test("busctl walks the tree, objects that come and go included", async () => {
    expect((await busctl("tree", "--list", NAME)).trim().split("\n")).toEqual([
      "/",
      "/org",
      "/org/berth",
      PATH,
      `${PATH}/port`,
      `${PATH}/port/a_2db`,
      `${PATH}/port/web`,
    ]);
    expect(await busctl("get-property", NAME, `${PATH}/port/a_2db`, "org.berth.Test.Port", "Number")).toBe("u 1\n");
  });

  test("gdbus and dbus-send read it too", async () => {
    const text = await run("gdbus", "introspect", "--address", bus.address, "-d", NAME, "-o", PATH);
    expect(text).toContain("Join(in  s separator,");
    expect(text).toContain("readwrite u Level = 1;");
    const sent = await run(
      "dbus-send",
      `--bus=${bus.address}`,
      "--print-reply=literal",
      `--dest=${NAME}`,
      PATH,
      `${IFACE}.Join`,
      "string:+",
      "array:string:a,b",
    );
    expect(sent.trim()).toBe("a+b");
  });

  test("Peer is answered everywhere, and a call may leave the interface out", async () => {
    expect(await busctl("call", NAME, "/nowhere", "org.freedesktop.DBus.Peer", "Ping")).toBe("");
    const [member, destination] = ["Two", NAME];
    const reply = await promisify(execFile)("gdbus", [
      "call",
      "--address",
      bus.address,
      "-d",
      destination,
      "-o",
      PATH,
      "-m",
      `${IFACE}.${member}`,
    ]);
    expect(reply.stdout.trim()).toBe("(uint32 7, true)");
  });
});

test("2000 calls at once, of 20 clients: all are answered, since the limit is for each one", async () => {
  const clients = await Promise.all(
    Array.from({ length: 20 }, () => Connection.open(bus.address, { outstanding: 100 })),
  );
  const calls = clients.flatMap((one) =>
    Array.from({ length: 100 }, () =>
      one.call({ destination: NAME, path: PATH, interface: IFACE, member: "Fail", in: "s", args: ["named"], out: "" }),
    ),
  );
  const results = await Promise.allSettled(calls);
  const names = new Set(
    results.map((result) =>
      result.status === "rejected" && result.reason instanceof DBusError ? result.reason.errorName : "?",
    ),
  );
  expect([...names]).toEqual(["org.berth.Refused"]);
  expect(await call("Two", "", [], "ub")).toEqual([7, true]);
  for (const one of clients) one.close();
});
