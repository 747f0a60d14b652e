/**
 * One property of the manager, read over a message bus by a client in C: of berthd, and of the systemd-machined of this
 * host, which starts without systemd. Each is on a bus of its own with the same configuration; the bus's own answer is the floor.
 */
import { spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { Connection } from "../../src/bus/connection.ts";
import { encode, METHOD_CALL } from "../../src/bus/message.ts";
import { startTestBus } from "../lib/test-bus.ts";
import { DaemonRoot } from "./daemon-root.ts";
import { type Contestant, compileC, installed, options, report, roundRobin, Server, workDirectory } from "./lib.ts";

const MACHINED = "/usr/lib/systemd/systemd-machined";
const MACHINE1 = "org.freedesktop.machine1";
const BUS = "org.freedesktop.DBus";
/** Of one name and of many: what a property costs beside what a call costs. */
const READS = 20;

const given = options(301);
const work = workDirectory();
const ask = compileC("ask", work);
const [bus, berthBus] = [await startTestBus(), await startTestBus()];
const root = new DaemonRoot(work, { DBUS_SYSTEM_BUS_ADDRESS: berthBus.address });
for (const name of root.machines(1)) root.berth("start", name);
const machined = spawn(MACHINED, { env: { ...process.env, DBUS_SYSTEM_BUS_ADDRESS: bus.address }, stdio: "ignore" });
machined.on("error", () => undefined);

function call(destination: string, path: string, face: string, member: string, args: readonly string[]): string {
  const { bytes } = encode({
    ...{ type: METHOD_CALL, serial: 1, destination, path, interface: face, member },
    ...{ signature: "s".repeat(args.length), body: args },
  });
  return bytes.toString("hex");
}

async function client(socket: string, message: string): Promise<Server> {
  const server = new Server([ask, socket]);
  const uid = Buffer.from(String(process.geteuid?.() ?? 0)).toString("hex");
  server.say(Buffer.from(`\0AUTH EXTERNAL ${uid}\r\n`).toString("hex"));
  server.say(call(BUS, "/org/freedesktop/DBus", BUS, "Hello", []));
  server.say(message);
  return server;
}

async function contestant(name: string, note: string, socket: string, message: string): Promise<Contestant> {
  const server = await client(socket, message);
  const run = async (): Promise<{ "to answer": number }> => {
    const times: number[] = [];
    for (let read = 0; read < READS; read++) times.push(...(await server.ask()));
    times.sort((a, b) => a - b);
    return { "to answer": (times[READS / 2] ?? NaN) / 1e6 };
  };
  return { name, note, run, close: () => server.close() };
}

/** machined takes its name a moment after its start. */
async function waitFor(address: string): Promise<boolean> {
  const connection = await Connection.open(address);
  try {
    for (let tries = 0; tries < 100; tries++, await sleep(50)) {
      const [names] = await connection.call({
        ...{ destination: BUS, path: "/org/freedesktop/DBus", interface: BUS, member: "ListNames" },
        ...{ in: "", args: [], out: "as" },
      });
      if (names.includes(MACHINE1)) return true;
    }
    return false;
  } finally {
    connection.close();
  }
}

const get = call(MACHINE1, "/org/freedesktop/machine1", `${BUS}.Properties`, "Get", [
  `${MACHINE1}.Manager`,
  "PoolPath",
]);
await waitFor(berthBus.address);
const contestants = [
  await contestant("berthd", "PoolPath of machine1", berthBus.socket, get),
  await contestant(
    "bus alone",
    "GetId of the bus itself",
    bus.socket,
    call(BUS, "/org/freedesktop/DBus", BUS, "GetId", []),
  ),
];
for (const { name } of installed([{ name: "systemd-machined", tool: MACHINED }]))
  if (await waitFor(bus.address)) contestants.push(await contestant(name, "the same", bus.socket, get));
const results = await roundRobin(contestants, given.rounds, 50);
machined.kill();
report(
  { title: "A property over the bus", ratioOf: "to answer", against: ["systemd-machined", "bus alone"] },
  results,
  given,
);
root.stop();
for (const each of [bus, berthBus]) await each.remove();
process.exit();
