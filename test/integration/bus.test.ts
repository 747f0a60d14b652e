/** The connection to a bus against a real dbus-daemon, which no machine and no systemd is needed for. */
import { execFile } from "node:child_process";
import { closeSync, fstatSync, openSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { Connection } from "../../src/bus/connection.ts";
import { NO_REPLY_EXPECTED } from "../../src/bus/message.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";
import { startTestBus, type TestBus } from "../lib/test-bus.ts";

const ready = needs("tool:dbus-daemon", "tool:busctl");
checkLeaks({ scope: "file" });
const openFds = (): number => readdirSync("/proc/self/fd").length;
const NAME = "org.berth.Test";
const ECHO = { destination: NAME, path: "/", interface: "a.b", member: "Echo" } as const;
const inode = (fd: number): number => fstatSync(fd).ino;

let bus: TestBus;
const connections: Connection[] = [];
beforeAll(async () => {
  if (ready) bus = await startTestBus();
});
afterAll(() => bus?.remove());
afterEach(() => {
  for (const connection of connections.splice(0)) connection.close();
});

async function open(options = {}): Promise<Connection> {
  const connection = await Connection.open(bus.address, options);
  connections.push(connection);
  return connection;
}

/** Answers each call with its own arguments, fds included. */
async function echo(name = NAME): Promise<Connection> {
  const connection = await open();
  connection.onCall = (call) => {
    const values = call.read();
    call.takeFds();
    if ((call.header.flags & NO_REPLY_EXPECTED) === 0) connection.reply(call, call.header.signature, values);
  };
  expect(await connection.requestName(name)).toBe("ours");
  return connection;
}

describe("calls and fds", () => {
  test("50 calls at once, every other with fds: each gets its own", async () => {
    await echo();
    const client = await open();
    const devNull = openSync("/dev/null", "r");
    const before = openFds();
    const files = Array.from({ length: 50 }, (_, index) => openSync(join(bus.directory, `${index}`), "w"));
    const results = await Promise.all(
      files.map(async (file, index) => {
        const wanted = inode(file);
        if (index % 2 === 1) {
          closeSync(file);
          return (await client.call({ ...ECHO, in: "u", args: [index], out: "u" }))[0] === index;
        }
        const [number, one, [two]] = await client.call({
          ...ECHO,
          in: "uh(h)",
          args: [index, file, [openSync("/dev/null", "r")]],
          out: "uh(h)",
        });
        const right = number === index && inode(one) === wanted && inode(two) === inode(devNull);
        closeSync(one);
        closeSync(two);
        return right;
      }),
    );
    expect(results).toEqual(Array(50).fill(true));
    expect(openFds()).toBe(before);
    closeSync(devNull);
  });

  test("1000 fds leave nothing behind, on either side", async () => {
    await echo();
    const client = await open({ outstanding: 100 });
    const before = openFds();
    for (let round = 0; round < 10; round++) {
      const calls = Array.from({ length: 100 }, () =>
        client.call({ ...ECHO, in: "h", args: [openSync("/dev/null", "r")], out: "h" }),
      );
      for (const [fd] of await Promise.all(calls)) closeSync(fd);
    }
    expect(openFds()).toBe(before);
  });

  test("fds for somebody who knows no such method are closed", async () => {
    const server = await open();
    await server.requestName(NAME);
    const client = await open();
    const before = openFds();
    const calls = Array.from({ length: 30 }, () =>
      client.call({ ...ECHO, in: "h", args: [openSync("/dev/null", "r")], out: "" }),
    );
    for (const result of await Promise.allSettled(calls)) expect(result.status).toBe("rejected");
    expect(openFds()).toBe(before);
  });

  test("500 calls of a server that is slow: no more than the limit are outstanding, and all are answered", async () => {
    const server = await open();
    await server.requestName(NAME);
    let most = 0;
    let now = 0;
    server.onCall = async (call) => {
      most = Math.max(most, ++now);
      await sleep(1);
      now--;
      server.reply(call, call.header.signature, call.read());
    };
    const client = await open();
    const calls = Array.from({ length: 500 }, (_, index) => client.call({ ...ECHO, in: "u", args: [index], out: "u" }));
    expect(client.outstanding).toBe(64);
    expect((await Promise.all(calls)).map(([value]) => value)).toEqual(Array.from({ length: 500 }, (_, i) => i));
    expect(most).toBeLessThanOrEqual(64);
    expect(client.outstanding).toBe(0);
  });

  test("big messages, both ways", async () => {
    await echo();
    const client = await open();
    const text = "berth ".repeat(1 << 20);
    const [back] = await client.call({ ...ECHO, in: "s", args: [text], out: "s" });
    expect(back === text).toBe(true);
  });
});

describe("names and signals", () => {
  test("a name that somebody has is taken, and ours again when it is free", async () => {
    const [one, two] = [await open(), await open()];
    expect(await one.requestName(NAME)).toBe("ours");
    expect(await one.requestName(NAME)).toBe("ours");
    expect(await two.requestName(NAME)).toBe("taken");
    await one.releaseName(NAME);
    expect(await two.requestName(NAME)).toBe("ours");
  });

  test("only signals of the name's owner are heard, whoever owns it now", async () => {
    const [owner, stranger, next, listener] = [await open(), await open(), await open(), await open()];
    await owner.requestName(NAME);
    const heard: unknown[] = [];
    const unsubscribe = await listener.subscribe({ sender: NAME, member: "Said" }, ({ body }) => heard.push(...body));
    const say = (from: Connection, text: string): void =>
      from.emit({
        path: "/",
        interface: "a.b",
        member: "Said",
        signature: "s",
        body: [text],
        destination: listener.name,
      });
    say(owner, "owner");
    say(stranger, "stranger");
    await stranger.flush();
    await owner.releaseName(NAME);
    await next.requestName(NAME);
    say(owner, "owner no more");
    say(next, "next");
    for (let waited = 0; heard.length < 2 && waited < 20_000; waited += 10) await sleep(10);
    expect(heard).toEqual(["owner", "next"]);
    unsubscribe();
  });

  test("a rule is told to the bus once, and taken back when nobody listens", async () => {
    const [listener, talker] = [await open(), await open()];
    const rule = { interface: "a.b", member: "Said" };
    const heard: string[] = [];
    const first = await listener.subscribe(rule, () => heard.push("first"));
    const second = await listener.subscribe(rule, () => heard.push("second"));
    const say = async (): Promise<void> => {
      talker.emit({ path: "/", interface: "a.b", member: "Said", signature: "", body: [] });
      // Two round trips: what was sent before is there.
      await talker.requestName("org.berth.A");
      await listener.requestName("org.berth.B");
    };
    await say();
    expect(heard).toEqual(["first", "second"]);
    first();
    first();
    await say();
    expect(heard.slice(2)).toEqual(["second"]);
    second();
    await say();
    expect(heard.length).toBe(3);
    // The bus refuses to remove what it does not have.
    await expect(
      listener.call({
        destination: "org.freedesktop.DBus",
        path: "/org/freedesktop/DBus",
        interface: "org.freedesktop.DBus",
        member: "RemoveMatch",
        in: "s",
        args: ["type='signal',interface='a.b',member='Said'"],
        out: "",
      }),
    ).rejects.toMatchObject({ errorName: "org.freedesktop.DBus.Error.MatchRuleNotFound" });
  });

  test("1000 subscriptions one after the other hit no limit of the bus", async () => {
    const listener = await open();
    for (let round = 0; round < 1000; round++)
      (await listener.subscribe({ interface: "a.b", arg0: `${round}` }, () => undefined))();
    (await listener.subscribe({ interface: "a.b" }, () => undefined))();
  });

  test("a caller that leaves is noticed, and one that has left already, too", async () => {
    const [watcher, caller] = [await open(), await open()];
    let gone = 0;
    await watcher.watchName(caller.name, () => gone++);
    const unwatch = await watcher.watchName(caller.name, () => (gone += 100));
    unwatch();
    expect(gone).toBe(0);
    caller.close();
    for (let waited = 0; gone === 0 && waited < 20_000; waited += 10) await sleep(10);
    expect(gone).toBe(1);
    await watcher.watchName(caller.name, () => gone++);
    expect(gone).toBe(2);
  });
});

test("a bus that is killed rejects what waits, at once", async () => {
  const other = await startTestBus();
  const server = await Connection.open(other.address);
  await server.requestName(NAME);
  server.onCall = (call) => call.closeFds();
  const client = await Connection.open(other.address);
  const calls = Array.from({ length: 200 }, () => client.call({ ...ECHO, in: "", args: [], out: "" }));
  const settled = Promise.allSettled(calls);
  await sleep(20);
  await other.kill();
  for (const result of await settled)
    expect(result).toMatchObject({ reason: { errorName: "org.freedesktop.DBus.Error.Disconnected" } });
  expect(await client.ended).toBeInstanceOf(Error);
  expect(await server.ended).toBeInstanceOf(Error);
  await other.remove();
});

test("busctl and we understand each other", async () => {
  await echo();
  const program = [`--address=${bus.address}`, "--json=short", "call", "--", NAME, "/", "a.b", "Echo"];
  const args = ["sa{sv}xb", "hü", "1", "key", "as", "2", "a", "b", "-5", "true"];
  const { stdout } = await promisify(execFile)("busctl", [...program, ...args], { timeout: 10_000 });
  expect(JSON.parse(stdout)).toEqual({
    type: "sa{sv}xb",
    data: ["hü", { key: { type: "as", data: ["a", "b"] } }, -5, true],
  });
});
