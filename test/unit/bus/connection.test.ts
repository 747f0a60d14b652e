import { closeSync, readdirSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import { Connection } from "../../../src/bus/connection.ts";
import { ERROR, encode, type IncomingMessage, METHOD_CALL, METHOD_RETURN, SIGNAL } from "../../../src/bus/message.ts";
import { openNull } from "../../../src/sys/files.ts";
import type { FdStream } from "../../../src/sys/unix-stream.ts";
import { answerHello, type FakeBus, type FakeBusScript, fakeBus } from "../../lib/fake-bus.ts";

const openFds = (): number => readdirSync("/proc/self/fd").length;

let bus: FakeBus | undefined;
afterEach(() => {
  bus?.close();
  bus = undefined;
});

function open(script: FakeBusScript, options = {}): Promise<Connection> {
  bus = fakeBus(script);
  return Connection.open(bus.address, { authenticationMs: 300, ...options });
}

/** Answers Hello, and calls by `reply`. */
const answering = (reply: (message: IncomingMessage, client: FdStream) => void): FakeBusScript => ({
  onMessage(message, client) {
    answerHello(message, client);
    if (message.header.member !== "Hello") reply(message, client);
  },
});

const PING = { destination: "a.b", path: "/", interface: "a.b", member: "Ping", in: "", args: [], out: "" } as const;

describe("a bus that can't be used", () => {
  test.for([
    ["refuses who we are", { answer: () => "REJECTED EXTERNAL" }, "does not accept who we are"],
    [
      "passes no fds",
      { answer: (line: string) => (line.startsWith("AUTH") ? "OK 1" : "ERROR") },
      "passes no file desc",
    ],
    ["says nothing", { answer: () => undefined }, "does not answer"],
    ["talks without end", { answer: () => "x".repeat(20_000).replace(/\r\n/g, "") }, "does not accept who we are"],
    [
      "does not say hello",
      { onMessage: () => undefined },
      "Hello of org.freedesktop.DBus was not answered within 0.3 s",
    ],
    [
      "says garbage",
      { onMessage: (_: IncomingMessage, client: FdStream) => client.write(Buffer.alloc(100, "x")) },
      "is no message",
    ],
    ["answers another type", answersHello("u", 5), 'answered "u" and not "s"'],
    [
      "closes at once",
      { onMessage: (_: IncomingMessage, client: FdStream) => client.close() },
      "the bus closed the connection",
    ],
  ] as const)("it %s", async ([, script, problem]) => {
    const before = openFds();
    await expect(open(script)).rejects.toThrow(problem);
    bus?.close();
    bus = undefined;
    expect(openFds()).toBe(before);
  });

  test("nobody is there", async () => {
    await expect(Connection.open("unix:path=/nonexistent/bus")).rejects.toThrow("ENOENT");
    bus = fakeBus();
    const connection = await Connection.open(`unix:path=/nonexistent/bus;${bus.address}`);
    expect(connection.name).toBe(":1.1");
    connection.close();
  });
});

function answersHello(signature: string, value: unknown): FakeBusScript {
  return {
    onMessage: ({ header }, client) =>
      client.write(
        encode({ type: METHOD_RETURN, serial: 1, replySerial: header.serial, signature, body: [value] }).bytes,
      ),
  };
}

describe("calls", () => {
  test("are rejected when the bus goes, those that wait for their turn too, with what they would have sent", async () => {
    const before = openFds();
    let received = 0;
    const connection = await open(
      answering((message, client) => {
        message.closeFds();
        if (++received === 4) client.close();
      }),
      { outstanding: 4 },
    );
    const calls = Array.from({ length: 10 }, () => connection.call({ ...PING, in: "h", args: [openNull()] }));
    const results = await Promise.allSettled(calls);
    expect(received).toBe(4);
    for (const result of results)
      expect(result).toMatchObject({ reason: { errorName: "org.freedesktop.DBus.Error.Disconnected" } });
    await expect(connection.call(PING)).rejects.toThrow("gone");
    expect((await connection.ended)?.message).toContain("closed");
    bus?.close();
    bus = undefined;
    expect(openFds()).toBe(before);
  });

  test("time out one by one, and a late answer, with an fd, is dropped", async () => {
    const late: (() => void)[] = [];
    const connection = await open(
      answering(({ header }, client) => {
        late.push(() => {
          const reply = {
            type: METHOD_RETURN,
            serial: 9,
            replySerial: header.serial,
            signature: "h",
            body: [openNull()],
          };
          const { bytes, fds } = encode(reply);
          client.write(bytes, fds);
        });
      }),
      { outstanding: 1 },
    );
    const first = connection.call({ ...PING, out: "h", timeoutMs: 50 });
    const second = connection.call({ ...PING, out: "h", timeoutMs: 2000 });
    await expect(first).rejects.toMatchObject({ errorName: "org.freedesktop.DBus.Error.NoReply" });
    while (late.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    const before = openFds();
    for (const send of late) send();
    const [fd] = await second;
    expect(openFds()).toBe(before + 1);
    closeSync(fd);
    connection.close();
  });

  test("an error has its name and its text", async () => {
    const connection = await open(
      answering(({ header }, client) => {
        const error = { type: ERROR, serial: 9, replySerial: header.serial, errorName: "a.b.Refused" };
        client.write(encode({ ...error, signature: "s", body: ["Not today."] }).bytes);
      }),
    );
    await expect(connection.call(PING)).rejects.toMatchObject({ errorName: "a.b.Refused", message: "Not today." });
    connection.close();
  });

  test("whose arguments do not fit are not sent, and the next ones are", async () => {
    const connection = await open(
      answering(({ header }, client) =>
        client.write(
          encode({ type: METHOD_RETURN, serial: 9, replySerial: header.serial, signature: "", body: [] }).bytes,
        ),
      ),
      { outstanding: 1 },
    );
    await expect(connection.call({ ...PING, in: "u", args: [-1] })).rejects.toThrow("a whole number");
    expect(await connection.call(PING)).toEqual([]);
    connection.close();
  });
});

test("signals and calls that can't be read harm nobody", async () => {
  const logged: string[] = [];
  const connection = await open(
    answering((message, client) => {
      const { member, serial: replySerial } = message.header;
      const say = (fields: object): void =>
        client.write(
          encode({
            type: SIGNAL,
            serial: 9,
            path: "/",
            interface: "a.b",
            member: "S",
            signature: "",
            body: [],
            ...fields,
          }).bytes,
        );
      const broken = encode({
        type: SIGNAL,
        serial: 9,
        path: "/",
        interface: "a.b",
        member: "S",
        signature: "s",
        body: ["xyz"],
      }).bytes;
      broken[broken.length - 2] = 0xff;
      if (member === "Ping") {
        client.write(broken);
        say({ type: METHOD_CALL });
        say({ type: METHOD_RETURN, replySerial: 12345 });
        say({ type: ERROR, replySerial: 12345, errorName: "a.b.C" });
        say({ type: 77 });
      }
      say({ type: METHOD_RETURN, replySerial });
    }),
    { log: (text: string) => logged.push(text) },
  );
  const heard: unknown[] = [];
  await connection.subscribe({ interface: "a.b" }, ({ body }) => heard.push(body));
  connection.onCall = () => {
    throw new Error("a mistake in a handler");
  };
  expect(await connection.call(PING)).toEqual([]);
  expect(heard).toEqual([]);
  expect(logged).toEqual([expect.stringContaining("not UTF-8"), expect.stringContaining("a mistake")]);
  connection.close();
  expect(await connection.ended).toBeUndefined();
});
