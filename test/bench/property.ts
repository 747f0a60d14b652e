/**
 * A property of the manager and one of a machine, read over a message bus by a client in C: of berthd, and of the
 * systemd-machined of this host, which starts without systemd. Each is on a bus of its own with the same configuration; the
 * bus's own answer is the floor. First some reads twice a second, then as many as there can be.
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
const ROOT = "/org/freedesktop/machine1";
const BUS = "org.freedesktop.DBus";
/** A round. */
const READS = 20;
/** ms from one round to the next: fewer than a hundred reads a second, from which on the daemon has its code compiled (src/daemon/hot-code.ts). */
const SELDOM_MS = 500;
const SELDOM_ROUNDS = 41;

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

const READ = `${BUS}.Properties`;
const POOL = call(MACHINE1, ROOT, READ, "Get", [`${MACHINE1}.Manager`, "PoolPath"]);
const STATE = call(MACHINE1, `${ROOT}/machine/_2ehost`, READ, "Get", [`${MACHINE1}.Machine`, "State"]);
const ID = call(BUS, "/org/freedesktop/DBus", BUS, "GetId", []);
const [ofManager, ofMachine] = ["PoolPath of machine1", "State of the machine .host"];
await waitFor(berthBus.address);
const contestants = [
  await contestant("berthd", ofManager, berthBus.socket, POOL),
  await contestant("berthd, a machine", ofMachine, berthBus.socket, STATE),
  await contestant("bus alone", "GetId of the bus itself", bus.socket, ID),
];
for (const { name } of installed([{ name: "systemd-machined", tool: MACHINED }]))
  if (await waitFor(bus.address)) {
    contestants.push(await contestant(name, ofManager, bus.socket, POOL));
    contestants.push(await contestant(`${name}, a machine`, ofMachine, bus.socket, STATE));
  }
const against = ["systemd-machined", "systemd-machined, a machine", "bus alone"];
const staying = contestants.map(({ name, note, run }) => ({ name, note, run }));
const seldom = await roundRobin(staying, SELDOM_ROUNDS, 2, SELDOM_MS);
report({ title: "A property over the bus, asked seldom", ratioOf: "to answer", against }, seldom, given);
const results = await roundRobin(contestants, given.rounds, 50);
machined.kill();
report({ title: "A property over the bus, asked again and again", ratioOf: "to answer", against }, results, given);
root.stop();
for (const each of [bus, berthBus]) await each.remove();
process.exit();
