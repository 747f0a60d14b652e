import { once } from "node:events";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import type { Socket } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { SOCKET } from "../../../src/manager/protocol.ts";
import { ARCHS, type End, handedOver, PlainClient } from "../../lib/plain-client.ts";

const RESULT = '{"id":1,"result":{"status":0}}\n';

let client: PlainClient;
// There is none where the first test is skipped.
afterEach(() => client?.[Symbol.asyncDispose]());

/** What Node is given to say. */
function answered(answer: string): End {
  return handedOver(["exec-answered"], `<socket>${answer}`);
}

describe.each(ARCHS)("the client for %s", (arch) => {
  beforeEach((ctx) => {
    client = new PlainClient(ctx, "exec", arch);
  });

  describe("what it asks berthd for", () => {
    test.each([
      ["a command", ["web", "--", "/bin/ls", "-l"], ["/bin/ls", "-l"]],
      ["without --", ["web", "ls", "--", "x"], ["ls", "--", "x"]],
      [
        "words that JSON has to quote",
        ["9", "--", 'a"b\\c', "\n\t\x01\x1f\x7f", "", "'"],
        ['a"b\\c', "\n\t\x01\x1f\x7f", "", "'"],
      ],
      ["as long as a word can be", ["w", "--", "\n".repeat(131_071)], ["\n".repeat(131_071)]],
    ])("%s", async (_, words, argv) => {
      await client.daemon((socket) => socket.write(RESULT));
      expect(await client.run(words)).toEqual({ status: 0, said: "" });
      expect(client.asked.map((line) => JSON.parse(line))).toEqual([
        {
          id: 1,
          method: "exec",
          params: { name: words[0], argv, user: null, directory: null, environment: [], stdio: "own" },
        },
      ]);
    });

    test("where the environment says, whatever the length of the path", async () => {
      const root = join(client.directory, "r".repeat(120));
      await client.daemon((socket) => socket.write(RESULT), join(root, "run"));
      const own = { BERTH_RUN: "", BERTH_ROOT: root };
      expect(await client.run(["web", "ls"], { env: own })).toEqual({ status: 0, said: "" });
      expect(
        await client.run(["web", "ls"], { env: { BERTH_RUN: join(root, "run"), BERTH_ROOT: "/none" } }),
      ).toMatchObject({
        status: 0,
      });
      expect(await client.run(["web", "ls"], { env: { BERTH_RUN: "", BERTH_ROOT: "r".repeat(120) } })).toMatchObject({
        status: 0,
      });
      expect(await client.run(["web", "ls"], { env: { BERTH_RUN: "/none", BERTH_ROOT: root } })).toEqual(
        handedOver(["exec", "web", "ls"]),
      );
      expect(client.asked).toHaveLength(3);
    });
  });

  describe("what comes of it", () => {
    test.each([0, 1, 7, 125, 137, 255])("the command's exit status: %i", async (status) => {
      await client.daemon((socket) =>
        socket.write(`{"id":1,"event":{"pid":77}}\n{"id":1,"result":{"status":${status}}}\n`),
      );
      expect(await client.run(["web", "ls"])).toEqual({ status, said: "" });
    });

    test("an answer that comes in pieces", async () => {
      const letters = [...`{"id":1,"event":{"pid":77}}\n{"id":1,"result":{"status":3}}\n`];
      const next = (socket: Socket): void => {
        const letter = letters.shift();
        if (letter !== undefined) socket.write(letter, () => setImmediate(next, socket));
      };
      await client.daemon(next);
      expect(await client.run(["web", "ls"])).toEqual({ status: 3, said: "" });
    });

    test("what it can't say is for Node to say", async () => {
      const answer =
        '{"id":1,"error":{"message":"no \\"such\\" machine","hint":null,"kind":"NoSuchMachine","exitStatus":1}}';
      await client.daemon((socket) => socket.write(`{"id":1,"event":{"pid":77}}\n${answer}\n`));
      expect(await client.run(["web", "ls"])).toEqual(answered(`${answer}\n`));
    });

    test("a runtime that can't be executed is named, and no exit status of the command's", async () => {
      await client.daemon((socket) => socket.destroy());

      rmSync(client.node[0] ?? "");
      const said = `berth: execve ${client.node[0]} failed with errno 2: berth's runtime can't be executed\n`;
      expect(await client.run(["web", "ls"])).toEqual({ status: 125, said });
    });

    test("berthd goes before it has answered", async () => {
      await client.daemon((socket) => socket.destroy());
      expect(await client.run(["web", "ls"])).toEqual(answered(""));
      expect(await client.run(["web", "--", "x".repeat(131_071), "y".repeat(131_071)])).toEqual(answered(""));
    });

    test("what berthd can't do in this way is done in another one", async () => {
      const answer = '{"id":1,"error":{"message":"no","hint":null,"kind":"NotSupported","exitStatus":1}}';
      await client.daemon((socket) => socket.write(`${answer}\n`));
      expect(await client.run(["web", "--", "ls"])).toEqual(handedOver(["exec", "web", "--", "ls"]));
    });

    test("a command that has begun is not run again", async () => {
      const answer = '{"id":1,"error":{"message":"no","hint":null,"kind":"NotSupported","exitStatus":1}}';
      await client.daemon((socket) => socket.write(`{"id":1,"event":{"pid":77}}\n${answer}\n`));
      expect(await client.run(["web", "ls"])).toEqual(answered(`${answer}\n`));
    });

    test("a berthd that reads nothing keeps nobody from being ended", async () => {
      await client.daemon(() => undefined);
      client.server?.on("connection", (socket) => socket.pause());
      const connected = client.server === undefined ? undefined : once(client.server, "connection");
      const child = client.start(["web", "--", ...Array.from({ length: 8 }, () => "x".repeat(131_071))]);
      await connected;
      child.kill("SIGTERM");
      expect(await once(child, "exit")).toEqual([null, "SIGTERM"]);
    });

    test.each([
      ["SIGHUP", 1],
      ["SIGINT", 2],
      ["SIGQUIT", 3],
      ["SIGTERM", 15],
    ] as const)("%s is for the command", async (signal, number) => {
      await client.daemon((socket, line) => {
        if (line.includes("signal")) socket.write('{"id":1,"result":{"status":9}}\n');
      });
      const child = client.start(["web", "ls"]);
      await expect.poll(() => client.asked).toHaveLength(1);
      child.kill(signal);
      expect(await once(child, "exit")).toEqual([9, null]);
      expect(client.asked.slice(1).map((line) => JSON.parse(line))).toEqual([{ id: 1, signal: number }]);
    });
  });

  describe("what is left to Node, and berthd not asked for", () => {
    test.each([
      ["no machine", []],
      ["no command", ["web"]],
      ["none after --", ["web", "--"]],
      ["an option before the machine", ["--user", "me", "web", "ls"]],
      ["an option before the command", ["web", "--user=me", "ls"]],
      ["a machine of no such name", [".web", "ls"]],
      ["words that are not ASCII", ["web", "ls", "Übung"]],
    ])("%s", async (_, words) => {
      await client.daemon((socket) => socket.write(RESULT));
      expect(await client.run(words)).toEqual(handedOver(["exec", ...words]));
      expect(client.asked).toEqual([]);
    });

    test.each(["0<&-", "2>&-"])("one of 0 to 2 is closed: %s", async (redirections) => {
      await client.daemon((socket) => socket.write(RESULT));
      expect(await client.run(["web", "ls"], { redirections })).toEqual(handedOver(["exec", "web", "ls"]));
      expect(client.asked).toEqual([]);
    });

    test("one of them is a terminal", async () => {
      await client.daemon((socket) => socket.write(RESULT));
      expect(await client.run(["web", "ls"], { redirections: "0<>/dev/ptmx" })).toEqual(
        handedOver(["exec", "web", "ls"]),
      );
      expect(client.asked).toEqual([]);
    });

    test("no daemon, or one that has gone", async () => {
      expect(await client.run(["web", "ls"])).toEqual(handedOver(["exec", "web", "ls"]));
      mkdirSync(join(client.directory, "run"));
      expect(await client.run(["web", "ls"])).toEqual(handedOver(["exec", "web", "ls"]));
      writeFileSync(join(client.directory, "run", SOCKET), "");
      expect(await client.run(["web", "ls"])).toEqual(handedOver(["exec", "web", "ls"]));
    });

    test("a place that has to be resolved", async () => {
      await client.daemon((socket) => socket.write(RESULT));
      mkdirSync(join(client.directory, "above"));
      const env = { BERTH_RUN: `${client.directory}/above/../run` };
      expect(await client.run(["web", "ls"], { env })).toEqual(handedOver(["exec", "web", "ls"]));
      expect(client.asked).toEqual([]);
    });
  });
});

describe("with Node", () => {
  beforeEach((ctx) => {
    client = new PlainClient(ctx, "exec", process.arch === "arm64" ? "arm64" : "x64");
    client.withNode();
  });

  test.each([
    ["short", "no such machine", '"list them"', 1],
    ["of any length", "x".repeat(300_000), "null", 1],
    ["with a status of its own", "no", "null", 77],
  ])("a failure is said, and is no exit status of the command's: %s", async (_, message, hint, exitStatus) => {
    const answer = `{"id":1,"error":{"message":"${message}","hint":${hint},"kind":null,"exitStatus":${exitStatus}}}\n`;
    await client.daemon((socket) => socket.write(`{"id":1,"event":{"pid":77}}\n${answer}`));
    const hinted = hint === "null" ? "" : "hint: list them\n";
    expect(await client.run(["web", "ls"])).toEqual({
      status: exitStatus === 1 ? 125 : exitStatus,
      said: `berth: ${message}\n${hinted}`,
    });
  });

  test("berthd has gone", async () => {
    await client.daemon((socket) => socket.destroy());
    const said = "berth: berthd has gone\nhint: berth daemon status\n";
    expect(await client.run(["web", "ls"])).toEqual({ status: 125, said });
  });
});
