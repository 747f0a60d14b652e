import { once } from "node:events";
import { mkdirSync, symlinkSync } from "node:fs";
import type { Socket } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { realPath } from "../../../src/host/paths.ts";
import { ARCHS, type End, endOf, type Given, handedOver, PlainClient } from "../../lib/plain-client.ts";

const CANCELLED = '"error":{"message":"it was cancelled","hint":null,"kind":null,"exitStatus":1}}\n';

let client: PlainClient;
let store: { readonly BERTH_ETC: string; readonly BERTH_MACHINES: string };
// There is none where the first test is skipped.
afterEach(() => client?.[Symbol.asyncDispose]());

const idOf = (line: string): number => (JSON.parse(line) as { id: number }).id;
const wellStarted = (socket: Socket, line: string): boolean => socket.write(`{"id":${idOf(line)},"result":null}\n`);
const failure = (id: number, message = "no"): string =>
  `{"id":${id},"error":{"message":"${message}","hint":null,"kind":null,"exitStatus":1}}\n`;

/** To what it is asked for, and not to a hint about it. */
function onRequest(answer: (socket: Socket, line: string) => void): typeof answer {
  return (socket, line) => {
    if (line.includes('"method"')) answer(socket, line);
  };
}

function makeClient(...given: ConstructorParameters<typeof PlainClient>): void {
  client = new PlainClient(...given);
  store = { BERTH_ETC: join(client.directory, "etc"), BERTH_MACHINES: join(client.directory, "machines") };
  mkdirSync(store.BERTH_MACHINES);
}

function start(names: readonly string[], given: Given = {}): ReturnType<PlainClient["start"]> {
  return client.start(names, { ...given, env: { ...store, ...given.env } });
}

function run(names: readonly string[], given?: Given): Promise<End> {
  return endOf(start(names, given));
}

describe.each(ARCHS)("the client for %s", (arch) => {
  beforeEach((ctx) => makeClient(ctx, "start", arch));

  /** What Node is to go on with. `done`: of the names. */
  function leftToNode(
    names: readonly string[],
    answers: string,
    given: Partial<{ booting: number; signal: number; done: string }> = {},
  ): End {
    const { booting = 0, signal = 0, done = "0".repeat(names.length) } = given;
    const words = [booting, signal, done, ...names].map((word) => `<${word}>`);
    return handedOver(["start-begun"], `<socket>${words.join("")}${answers}`);
  }

  const hintsOf = (): readonly unknown[] =>
    client.asked.map((line) => JSON.parse(line)).filter((message) => !("method" in message));

  describe("what it does", () => {
    test("asks for each machine, by the places that it has, and ends with all of them", async () => {
      await client.daemon(wellStarted);
      expect(await run(["web", "Db-2_x"])).toEqual({ status: 0, said: "" });
      const places = { etc: realPath(store.BERTH_ETC), machines: realPath(store.BERTH_MACHINES) };
      expect(client.asked.map((line) => JSON.parse(line))).toEqual(
        ["web", "Db-2_x"].map((name, index) => ({
          id: index + 1,
          method: "start",
          params: { name, timeout: null },
          places,
        })),
      );
    });

    test("says places without links, there or not", async () => {
      await client.daemon(wellStarted);
      mkdirSync(join(client.directory, 'real "etc"'));
      symlinkSync('real "etc"', join(client.directory, "etc"));
      symlinkSync(".", join(client.directory, "above"));
      const above = join(client.directory, "above");
      const env = { BERTH_MACHINES: join(above, "none"), BERTH_ETC: `${above}//etc/` };
      expect(await run(["web"], { env })).toEqual({ status: 0, said: "" });
      const real = realPath(client.directory);
      expect(client.asked.map((line) => (JSON.parse(line) as { places: unknown }).places)).toEqual([
        { etc: join(real, 'real "etc"'), machines: join(real, "none") },
      ]);
    });

    test("as many as berthd takes at once", async () => {
      await client.daemon(wellStarted);
      expect(await run(Array.from({ length: 200 }, (_, index) => `m${index}`))).toEqual({ status: 0, said: "" });
      expect(new Set(client.asked.map(idOf)).size).toBe(200);
    });

    test.each([
      [["web"], "web: booting\n"],
      [["web", "db"], "2 machines: booting\n"],
    ])("says once that they boot: %s", async (names, said) => {
      await client.daemon((socket, line) => {
        const status = `{"id":${idOf(line)},"event":{"status":"a"}}\n`;
        socket.write(status + status);
        wellStarted(socket, line);
      });
      expect(await run(names)).toEqual({ status: 0, said });
    });

    test("takes an answer in pieces", async () => {
      const letters = [...'{"id":1,"event":{"status":"a"}}\n{"id":1,"result":null}\n'];
      const next = (socket: Socket): void => {
        const letter = letters.shift();
        if (letter !== undefined) socket.write(letter, () => setImmediate(next, socket));
      };
      await client.daemon(next);
      expect(await run(["web"])).toEqual({ status: 0, said: "web: booting\n" });
    });

    test("does without a reader of that", async () => {
      await client.daemon((socket) => {
        socket.write('{"id":1,"event":{"status":"a"}}\n');
        setTimeout(() => socket.write('{"id":1,"result":null}\n'), 50);
      });
      const child = start(["web"]);
      child.stderr?.destroy();
      child.stdout?.destroy();
      expect(await once(child, "exit")).toEqual([0, null]);
    });
  });

  describe("what is left to Node, with the connection", () => {
    test("a failure, as soon as there is one, and what comes after it; what waits is given up if it goes", async () => {
      const rest = `${failure(2)}{"id":1,"event":{"status":"x"}}\n{"id"`;
      await client.daemon((socket, line) => {
        if (!line.includes("cancel") && idOf(line) === 3) socket.write(`{"id":3,"result":null}\n${rest}`);
      });
      const names = ["web", "db", "mail"];
      expect(await run(names)).toEqual(leftToNode(names, rest, { done: "001" }));
      await expect.poll(hintsOf).toEqual([1, 2].map((id) => ({ id, cancelIfGone: true })));
    });

    test("a word of berthd's, after it has said that they boot", async () => {
      const news = '{"id":1,"event":{"said":"weaker"}}\n';
      await client.daemon(onRequest((socket) => socket.write(`{"id":1,"event":{"status":"a"}}\n${news}`)));
      const { status, said } = leftToNode(["web"], news, { booting: 1 });
      // Which is on stderr.
      expect(await run(["web"])).toEqual({ status, said: `${said}web: booting\n` });
    });

    test("that they boot, where it could not be said", async () => {
      const status = '{"id":1,"event":{"status":"a"}}\n';
      await client.daemon(onRequest((socket) => socket.write(status)));
      expect(await run(["web"], { redirections: "2>/dev/full" })).toEqual(leftToNode(["web"], status));
    });

    test.each(["", '{"id":2,"res'])("berthd goes before it has answered, or in the middle: '%s'", async (rest) => {
      await client.daemon((socket) => socket.end(`{"id":1,"result":null}\n${rest}`));
      expect(await run(["web", "db"])).toEqual(leftToNode(["web", "db"], rest, { done: "10" }));
    });

    test("an answer that is longer than it takes one", async () => {
      const answer = failure(1, "x".repeat(100_000));
      await client.daemon((socket) => socket.write(answer));
      expect(await run(["web"])).toEqual(leftToNode(["web"], answer.slice(0, 1 << 16)));
    });

    test.each([
      ["SIGHUP", 1],
      ["SIGINT", 2],
      ["SIGTERM", 15],
    ] as const)("that a signal has come, and what is not done is given up: %s", async (name, signal) => {
      await client.daemon(
        onRequest((socket, line) => {
          if (idOf(line) === 2) socket.write('{"id":2,"result":null}\n{"id":1,"event":{"status":"a"}}\n');
        }),
      );
      const child = start(["web", "db"]);
      const said = endOf(child);
      // It has read the other by then.
      if (child.stderr !== null) await once(child.stderr, "data");
      child.kill(name);
      const left = leftToNode(["web", "db"], "", { signal, booting: 1, done: "01" });
      expect(await said).toEqual({ ...left, said: `${left.said}2 machines: booting\n` });
      await expect.poll(hintsOf).toEqual([{ id: 1, cancel: true }]);
    });

    test("an answer to what it has not asked", async () => {
      await client.daemon(onRequest((socket) => socket.write('{"id":2,"result":null}\n')));
      expect(await run(["web"])).toEqual(leftToNode(["web"], '{"id":2,"result":null}\n'));
    });
  });

  describe("what is left to Node, and berthd not asked for", () => {
    test.each([
      ["no machine", []],
      ["an option", ["--timeout=3", "web"]],
      ["an option behind", ["web", "-x"]],
      ["a name with a dot, of which some are wrong", ["a.b"]],
      ["the host's", ["host"]],
      ["a long name", ["w".repeat(65)]],
      ["an empty name", [""]],
      ["a machine twice", ["web", "db", "web"]],
      ["more than berthd takes at once", Array.from({ length: 201 }, (_, index) => `m${index}`)],
    ])("%s", async (_, names) => {
      await client.daemon(wellStarted);
      expect(await run(names)).toEqual(handedOver(["start", ...names]));
      expect(client.asked).toEqual([]);
    });

    test.each<[string, Given]>([
      ["a closed stdin", { redirections: "0<&-" }],
      ["a terminal for stderr", { redirections: "2<>/dev/ptmx" }],
      ["settings in a place that has to be resolved", { env: { BERTH_ETC: "/etc/../none" } }],
      ["machines in a place whose parent is not there", { env: { BERTH_MACHINES: "/none/of/them" } }],
      ["a relative one that is not there", { env: { BERTH_MACHINES: "none" } }],
      ["one in letters that are not ASCII", { env: { BERTH_ETC: "/größe" } }],
    ])("%s", async (_, given) => {
      await client.daemon(wellStarted);
      expect(await run(["web"], given)).toEqual(handedOver(["start", "web"]));
      expect(client.asked).toEqual([]);
    });

    test("no daemon", async () => {
      expect(await run(["web"])).toEqual(handedOver(["start", "web"]));
    });
  });

  test("a berthd that reads nothing keeps nobody from giving up", async () => {
    await client.daemon(() => undefined);
    client.server?.on("connection", (socket) => socket.pause());
    const connected = client.server === undefined ? undefined : once(client.server, "connection");
    const deep = join(client.directory, ...Array.from({ length: 15 }, () => "d".repeat(250)));
    mkdirSync(deep, { recursive: true });
    const names = Array.from({ length: 200 }, (_, index) => `m${index}`);
    const child = start(names, { env: { BERTH_MACHINES: deep } });
    await connected;
    await new Promise((resolve) => setTimeout(resolve, 200));
    child.kill("SIGTERM");
    const { status, said } = await endOf(child);
    const done = /<15><(0+)>/.exec(said)?.[1] ?? "";
    // All of them, and those that it has asked for.
    expect({ status, said }).toEqual(leftToNode(names, "", { signal: 15, done }));
    expect(done.length).toBeLessThan(200);
  });
});

describe("with Node", () => {
  beforeEach((ctx) => {
    makeClient(ctx, "start", process.arch === "arm64" ? "arm64" : "x64");
    client.withNode();
  });

  test("failures are said when they come, news at the end, and one failure is that of all", async () => {
    let said = "";
    await client.daemon((socket, line) => {
      if (idOf(line) !== 3) return;
      wellStarted(socket, line);
      socket.write(`${failure(2, "no Übung")}{"id":1,"event":{"said":"weaker"}}\n{"id":1,"res`);
    });
    const child = start(["web", "db", "mail"]);
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    await expect.poll(() => said, { timeout: 10_000 }).toBe("berth: no Übung\n");
    expect(child.exitCode).toBe(null);
    client.sockets[0]?.write('ult":null}\n');
    expect(await once(child, "close")).toEqual([1, null]);
    expect(said).toBe("berth: no Übung\nberth: weaker\n");
  });

  test("that they boot is said once", async () => {
    const status = '{"id":1,"event":{"status":"a"}}\n';
    await client.daemon((socket) =>
      socket.write(`${status}{"id":1,"event":{"said":"weaker"}}\n${status}{"id":1,"result":null}\n`),
    );
    expect(await run(["web"])).toEqual({ status: 0, said: "web: booting\nberth: weaker\n" });
  });

  test("a letter that came in two pieces is one", async () => {
    const line = Buffer.from(failure(1, "größer"));
    const middle = line.indexOf("ö") + 1;
    await client.daemon(
      onRequest((socket) => {
        socket.write('{"id":1,"event":{"said":"x"}}\n');
        socket.write(line.subarray(0, middle));
        setTimeout(() => socket.write(line.subarray(middle)), 500);
      }),
    );
    expect(await run(["web"])).toEqual({ status: 1, said: "berth: x\nberth: größer\n" });
  });

  test("berthd goes before it has answered", async () => {
    await client.daemon((socket) => socket.destroy());
    expect(await run(["web"])).toEqual({ status: 1, said: "berth: berthd has gone\nhint: berth daemon status\n" });
  });

  test.each(["SIGHUP", "SIGINT", "SIGTERM"] as const)("%s gives up what is not done yet", async (signal) => {
    await client.daemon((socket, line) => {
      if (line.includes('cancel"')) setTimeout(() => socket.write(`{"id":${idOf(line)},${CANCELLED}`), 1000);
    });
    const child = start(["web", "db"]);
    await expect.poll(() => client.asked).toHaveLength(2);
    child.kill(signal);
    expect(await once(child, "exit")).toEqual([130, null]);
    expect(client.asked.slice(2, 4).map((line) => JSON.parse(line))).toEqual(
      [1, 2].map((id) => ({ id, cancel: true })),
    );
  });

  test("one of another kind than the first does not end it; the first one again does", async () => {
    await client.daemon(() => undefined);
    const child = start(["web"]);
    const ended = once(child, "exit");
    await expect.poll(() => client.asked).toHaveLength(1);
    child.kill("SIGTERM");
    // The first is the client's, the others are Node's.
    await expect.poll(() => client.asked.length, { timeout: 10_000 }).toBeGreaterThan(2);
    child.kill("SIGHUP");
    child.kill("SIGINT");
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect([child.exitCode, child.signalCode]).toEqual([null, null]);
    child.kill("SIGTERM");
    expect(await ended).toEqual([null, "SIGTERM"]);
  });

  test("who waits is not given up if it goes, once it can be told itself", async () => {
    await client.daemon((socket, line) => {
      if (idOf(line) === 1 && !line.includes("cancel")) socket.write(failure(1));
    });
    const child = start(["web", "db"]);
    const hints = (): unknown[] => client.asked.slice(2).map((line) => JSON.parse(line));
    await expect.poll(hints, { timeout: 10_000 }).toEqual([
      { id: 1, cancelIfGone: true },
      { id: 2, cancelIfGone: true },
      { id: 2, cancelIfGone: false },
    ]);
    child.kill("SIGKILL");
    await once(child, "exit");
  });

  test("what berthd has said last is said, though it has gone", async () => {
    await client.daemon((socket, line) => idOf(line) === 2 && socket.end(failure(1)));
    const { status, said } = await run(["web", "db"]);
    expect({ status, said }).toEqual({
      status: 1,
      said: "berth: no\nberth: berthd has gone: it is not known what came of db\nhint: berth daemon status\n",
    });
  });

  test("one that comes before all have been asked for, though those that were are ready", async () => {
    await client.daemon(onRequest(wellStarted));
    client.server?.on("connection", (socket) => socket.pause());
    const deep = join(client.directory, ...Array.from({ length: 15 }, () => "d".repeat(250)));
    mkdirSync(deep, { recursive: true });
    const names = Array.from({ length: 200 }, (_, index) => `m${index}`);
    const child = start(names, { env: { BERTH_MACHINES: deep } });
    const end = endOf(child);
    await expect.poll(() => client.sockets).toHaveLength(1);
    await new Promise((resolve) => setTimeout(resolve, 200));
    child.kill("SIGTERM");
    await new Promise((resolve) => setTimeout(resolve, 50));
    client.sockets[0]?.resume();
    expect(await end).toEqual({ status: 130, said: "" });
    expect(new Set(client.asked.map(idOf)).size).toBeLessThan(200);
  });

  test("one that comes while it waits is for it, too", async () => {
    await client.daemon((socket, line) => {
      if (line.includes('"cancel":true')) socket.write(`{"id":${idOf(line)},${CANCELLED}`);
      else if (idOf(line) === 1) socket.write(failure(1));
    });
    const child = start(["web", "db"]);
    await once(child.stderr ?? child, "data");
    child.kill("SIGTERM");
    expect(await once(child, "exit")).toEqual([130, null]);
  });
});
