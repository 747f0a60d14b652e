/** org.freedesktop.LogControl1 of berthd: beside that of the real systemd-machined, and what it does to the log. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { promisify } from "node:util";
import { beforeAll, describe, expect, test } from "vitest";
import { Connection } from "../../src/bus/connection.ts";
import { DBusError } from "../../src/bus/dbus-error.ts";
import { variant } from "../../src/bus/values.ts";
import { berthRoot, poll } from "../lib/berth.ts";
import { BERTHD, berthd } from "../lib/daemon.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { hostTree, PREPARING_MS, prepareRealDaemons, REAL_DAEMONS, realDaemons } from "../lib/real-daemons.ts";
import { needs } from "../lib/requires.ts";
import { startTestBus } from "../lib/test-bus.ts";
import { trixieTree } from "../lib/trixie-machinectl.ts";

const ready = needs("root", "tool:busctl", "tool:setpriv", ...REAL_DAEMONS);
checkLeaks();
beforeAll(() => prepareRealDaemons(ready), PREPARING_MS);

const LOG_CONTROL1 = "org.freedesktop.LogControl1";
type Name = "LogLevel" | "LogTarget" | "SyslogIdentifier";

class Client implements AsyncDisposable {
  readonly #connection: Connection;
  readonly #at: { readonly destination: string; readonly path: string; readonly interface: string };

  private constructor(connection: Connection, destination: string) {
    this.#connection = connection;
    this.#at = { destination, path: "/org/freedesktop/LogControl1", interface: "org.freedesktop.DBus.Properties" };
  }

  static async of(address: string, name = "org.freedesktop.machine1"): Promise<Client> {
    return new Client(await Connection.open(address), name);
  }

  async get(name: Name): Promise<unknown> {
    const args = [LOG_CONTROL1, name] as const;
    return (await this.#connection.call({ ...this.#at, member: "Get", in: "ss", args, out: "v" }))[0].value;
  }

  /** What it is then, or the error. */
  async set(name: Name, value: string | number): Promise<unknown> {
    const args = [LOG_CONTROL1, name, variant(typeof value === "string" ? "s" : "u", value)] as const;
    try {
      await this.#connection.call({ ...this.#at, member: "Set", in: "ssv", args, out: "" });
    } catch (error) {
      if (error instanceof DBusError) return `${error.errorName}: ${error.message}`;
      throw error;
    }
    return this.get(name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#connection.close();
    await this.#connection.ended;
  }
}

const LEVELS = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"] as const;
const SETS: readonly (readonly [Name, string | number])[] = [
  ...LEVELS.flatMap((level, number): [Name, string][] => [
    ["LogLevel", level],
    ["LogLevel", String(number)],
  ]),
  ...["", "8", "-1", "07", "warn", "DEBUG", "info ", "trace"].map((level): [Name, string] => ["LogLevel", level]),
  ["LogLevel", 3],
  ...["console", "null", "auto", "", "nowhere", "stderr"].map((target): [Name, string] => ["LogTarget", target]),
  ["LogTarget", 3],
  ["SyslogIdentifier", "x"],
];
const begun = async (client: Client): Promise<unknown[]> => [
  await client.get("LogLevel"),
  await client.get("LogTarget"),
];

describe.each([
  ["systemd 252", hostTree],
  ["systemd 257", trixieTree],
] as const)("beside %s", (_, treeOf) => {
  test("begins alike, takes the same words, and refuses the others by the same names and texts", async () => {
    await using root = berthRoot();
    expect(await root.berth("daemon", "start")).toMatchObject({ status: 0 });
    await using real = await realDaemons(await treeOf(), {}, []);
    await using ours = await Client.of(`unix:path=${root.bus}`);
    await using theirs = await Client.of(real.address);
    expect(await begun(theirs)).toEqual(["info", "auto"]);
    expect(await begun(ours)).toEqual(["info", "auto"]);
    const differ: unknown[] = [];
    for (const [name, value] of SETS) {
      const [our, their] = [await ours.set(name, value), await theirs.set(name, value)];
      if (our !== their) differ.push({ name, value, our, their });
    }
    expect(differ).toEqual([]);
  });
});

test("says what is logged from then on, and for whom, under each of its names", async () => {
  await using root = berthRoot();
  await using daemon = await berthd(root);
  await daemon.until(/ is on the bus /);
  await using client = await Client.of(`unix:path=${root.bus}`, "org.berth.Manager1");
  await using other = await Client.of(`unix:path=${root.bus}`, "org.freedesktop.import1");
  // That it is asked is told at level debug, that it failed at info; both before the answer.
  const fail = async (name: string): Promise<void> => void (await root.berth("reboot", name));
  await fail("a");
  await client.set("LogLevel", "debug");
  await fail("b");
  for (const level of ["emerg", "err", "notice"] as const) {
    expect(await client.set("LogLevel", level)).toBe(level);
    await fail(level);
  }
  await client.set("LogLevel", "info");
  expect(await other.set("LogTarget", "console")).toBe("console");
  await fail("c");
  expect(await client.set("LogTarget", "null")).toBe("null");
  await fail("d");
  await client.set("LogTarget", "auto");
  await fail("e");
  for (const target of ["journal", "kmsg", "syslog"])
    expect(await client.set("LogTarget", target)).toBe(
      `org.freedesktop.DBus.Error.NotSupported: berthd writes to stderr only: its log target is one of auto, console, null, and not ${target}.`,
    );
  expect(await client.get("SyslogIdentifier")).toBe("berthd");
  await daemon.until(/"machine":"e"/);
  const lines = daemon.stderr.slice(daemon.stderr.indexOf("is on the bus")).trimEnd().split("\n").slice(1);
  const failed = (name: string): RegExp =>
    new RegExp(`^\\{"level":30,.*"machine":"${name}","operation":"reboot#\\d+",.*\\}$`);
  const wanted = [
    failed("a"),
    /^\{"level":30,.*"the log's level is debug from now on"\}$/,
    /^\{"level":20,.*"machine":"b",.*"msg":"asked by pid \d+"\}$/,
    failed("b"),
    /^\{"level":30,.*"the log's level is emerg from now on"\}$/,
    /^\{"level":30,.*"the log's target is console from now on"\}$/,
    /^\d\d:\d\d:\d\d\.\d{3} info +c: .* \[reboot#\d+\]$/,
    /^\d\d:\d\d:\d\d\.\d{3} info +the log's target is null from now on \[Set#\d+\]$/,
    failed("e"),
    ...["journal", "kmsg", "syslog"].map(
      (each) => new RegExp(`^\\{"level":30,.*"operation":"Set#\\d+",.* not ${each}\\."\\}$`),
    ),
  ];
  expect(lines).toEqual(wanted.map((line) => expect.stringMatching(line)));
});

test("begins as the environment says, and has the journal where its stderr leads there", async () => {
  await using root = berthRoot();
  const env = { BERTH_LOG_LEVEL: "error", JOURNAL_STREAM: "8:1234" };
  await using daemon = root.spawn([BERTHD], { env });
  await poll("the bus", () => (existsSync(root.bus) ? true : undefined));
  // Waits until it is served.
  expect((await root.berth("daemon", "status")).stdout).toContain(root.bus);
  await using client = await Client.of(`unix:path=${root.bus}`);
  expect(await begun(client)).toEqual(["err", "auto"]);
  expect(await client.set("LogTarget", "journal")).toBe("journal");
  await client.set("LogLevel", "info");
  await root.berth("reboot", "nobody");
  await daemon.until(/nobody/);
  expect(daemon.stderr).toMatch(/^<6>nobody: .* \[reboot#\d+\]\n$/);
});

test("everybody reads it, and root alone sets it", async () => {
  const bus = await startTestBus();
  try {
    await using root = berthRoot();
    await using daemon = await berthd(root, { env: { DBUS_SYSTEM_BUS_ADDRESS: bus.address } });
    await daemon.until(/ is on the bus /);
    const at = ["org.freedesktop.machine1", "/org/freedesktop/LogControl1", LOG_CONTROL1];
    const asNobody = async (...words: readonly string[]): Promise<string> => {
      const user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
      const args = [...user, "busctl", `--address=${bus.publicAddress}`, ...words];
      return promisify(execFile)("setpriv", args).then(
        ({ stdout }) => stdout,
        (error: { readonly stderr: string }) => error.stderr,
      );
    };
    expect(await asNobody("get-property", ...at, "LogLevel", "LogTarget")).toBe('s "info"\ns "auto"\n');
    for (const [name, value] of [
      ["LogLevel", "debug"],
      ["LogTarget", "null"],
    ] as const)
      expect(
        await asNobody("set-property", ...at, name, "s", value),
      ).toBe(`Failed to set property ${name} on interface ${LOG_CONTROL1}: Access denied
`);
    await using client = await Client.of(bus.address);
    expect(await begun(client)).toEqual(["info", "auto"]);
  } finally {
    await bus.remove();
  }
});
