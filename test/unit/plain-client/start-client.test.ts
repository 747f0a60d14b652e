import { once } from "node:events";
import { mkdirSync, symlinkSync } from "node:fs";
import type { Socket } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { realPath } from "../../../src/host/paths.ts";
import { ARCHS, type End, endOf, type Given, handedOver, PlainClient } from "../../lib/plain-client.ts";

const CANCELLED = '"error":{"message":"it was cancelled","hint":null,"kind":null,"exitStatus":1}}\n';

let client: PlainClient;
let store: { readonly BERTH_ETC: string; readonly BERTH_MACHINES: string };
afterEach(() => client[Symbol.asyncDispose]());

const idOf = (line: string): number => (JSON.parse(line) as { id: number }).id;
const wellStarted = (socket: Socket, line: string): boolean => socket.write(`{"id":${idOf(line)},"result":null}\n`);
const failure = (id: number, message = "no"): string =>
  `{"id":${id},"error":{"message":"${message}","hint":null,"kind":null,"exitStatus":1}}\n`;

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

  /** What Node is to go on from. `connection`: that of the program, whatever it is. */
  async function leftToNode(child: ReturnType<typeof start>): Promise<{ state: unknown; answers: string }> {
    const { status, said } = await endOf(child);
    const head = handedOver(["start-begun"], "<socket>");
    const at = said.indexOf(head.said) + head.said.length;
    expect({ status, said: said.slice(0, at) }).toEqual({ status: 42, said: expect.stringMatching(/<socket>$/) });
    const [state = "", ...answers] = said.slice(at).split("\n");
    return { state: JSON.parse(state), answers: answers.join("\n") };
  }

  const stateOf = (names: readonly string[], { booting = false, interrupted = false } = {}): unknown => ({
    booting,
    interrupted,
    connection: expect.any(Number),
    names,
  });

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
    test("a failure, as soon as there is one, and what has been answered besides", async () => {
      await client.daemon((socket, line) => {
        if (idOf(line) === 3)
          socket.write(`{"id":3,"result":null}\n${failure(2)}{"id":1,"event":{"status":"x"}}\n{"id"`);
      });
      expect(await leftToNode(start(["web", "db", "mail"]))).toEqual({
        state: stateOf(["web", "db", "mail"]),
        answers: `{"id":3,"result":null}\n${failure(2)}{"id":1,"event":{"status":"x"}}\n{"id"`,
      });
    });

    test("a word of berthd's, after it has said that they boot", async () => {
      const news = `{"id":1,"event":{"said":"${"weaker ".repeat(10_000)}"}}\n`;
      await client.daemon((socket) => socket.write(`{"id":1,"event":{"status":"a"}}\n${news}`));
      // Which is on stderr.
      const answers = `${news}web: booting
`;
      expect(await leftToNode(start(["web"]))).toEqual({ state: stateOf(["web"], { booting: true }), answers });
    });

    test("that they boot, where it could not be said", async () => {
      const status = '{"id":1,"event":{"status":"a"}}\n';
      await client.daemon((socket) => socket.write(status));
      expect(await leftToNode(start(["web"], { redirections: "2>/dev/full" }))).toEqual({
        state: stateOf(["web"]),
        answers: status,
      });
    });

    test("berthd goes before it has answered", async () => {
      await client.daemon((socket) => socket.end('{"id":1,"result":null}\n'));
      expect(await leftToNode(start(["web", "db"]))).toEqual({
        state: stateOf(["web", "db"]),
        answers: '{"id":1,"result":null}\n',
      });
    });

    test.each(["SIGHUP", "SIGINT", "SIGTERM"] as const)("that it was interrupted: %s", async (signal) => {
      await client.daemon((socket, line) => idOf(line) === 2 && wellStarted(socket, line));
      const child = start(["web", "db"]);
      await expect.poll(() => client.asked).toHaveLength(2);
      await new Promise((resolve) => setTimeout(resolve, 100));
      child.kill(signal);
      expect(await leftToNode(child)).toEqual({
        state: stateOf(["web", "db"], { interrupted: true }),
        answers: '{"id":2,"result":null}\n',
      });
    });

    test("an answer to what it has not asked", async () => {
      await client.daemon((socket) => socket.write('{"id":2,"result":null}\n'));
      expect(await leftToNode(start(["web"]))).toMatchObject({ answers: '{"id":2,"result":null}\n' });
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

  test("a berthd that reads nothing keeps nobody from being ended", async () => {
    await client.daemon(() => undefined);
    client.server?.on("connection", (socket) => socket.pause());
    const connected = client.server === undefined ? undefined : once(client.server, "connection");
    const deep = join(client.directory, ...Array.from({ length: 15 }, () => "d".repeat(250)));
    mkdirSync(deep, { recursive: true });
    const child = start(
      Array.from({ length: 200 }, (_, index) => `m${index}`),
      { env: { BERTH_MACHINES: deep } },
    );
    await connected;
    await new Promise((resolve) => setTimeout(resolve, 200));
    child.kill("SIGTERM");
    expect(await once(child, "exit")).toEqual([null, "SIGTERM"]);
  });
});

describe("with Node", () => {
  beforeEach((ctx) => {
    makeClient(ctx, "start", process.arch === "arm64" ? "arm64" : "x64");
    const main = fileURLToPath(new URL("../../lib/quickly.ts", import.meta.url));
    client.node = [process.execPath, "--no-warnings", main];
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
    await client.daemon((socket) => {
      socket.write('{"id":1,"event":{"said":"x"}}\n');
      socket.write(line.subarray(0, middle));
      setTimeout(() => socket.write(line.subarray(middle)), 500);
    });
    expect(await run(["web"])).toEqual({ status: 1, said: "berth: x\nberth: größer\n" });
  });

  test("berthd goes before it has answered", async () => {
    await client.daemon((socket) => socket.destroy());
    expect(await run(["web"])).toEqual({ status: 1, said: "berth: berthd has gone\nhint: berth daemon status\n" });
  });

  test.each(["SIGHUP", "SIGINT", "SIGTERM"] as const)("%s gives up what is not done yet", async (signal) => {
    await client.daemon((socket, line) => {
      if (line.includes("cancel")) socket.write(`{"id":${idOf(line)},${CANCELLED}`);
    });
    const child = start(["web", "db"]);
    await expect.poll(() => client.asked).toHaveLength(2);
    await new Promise((resolve) => setTimeout(resolve, 100));
    child.kill(signal);
    expect(await once(child, "exit")).toEqual([130, null]);
    expect(client.asked.slice(2).map((line) => JSON.parse(line))).toEqual([1, 2].map((id) => ({ id, cancel: true })));
  });

  test("a second one ends it", async () => {
    await client.daemon(() => undefined);
    const child = start(["web"]);
    await expect.poll(() => client.asked).toHaveLength(1);
    await new Promise((resolve) => setTimeout(resolve, 100));
    child.kill("SIGTERM");
    await expect.poll(() => client.asked, { timeout: 10_000 }).toHaveLength(2);
    child.kill("SIGTERM");
    expect(await once(child, "exit")).toEqual([null, "SIGTERM"]);
  });

  test("one that comes while it waits is for it, too", async () => {
    await client.daemon((socket, line) => {
      if (line.includes("cancel")) socket.write(`{"id":${idOf(line)},${CANCELLED}`);
      else if (idOf(line) === 1) socket.write(failure(1));
    });
    const child = start(["web", "db"]);
    await once(child.stderr ?? child, "data");
    child.kill("SIGTERM");
    expect(await once(child, "exit")).toEqual([130, null]);
  });
});
