import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { SOCKET } from "../../../src/manager/protocol.ts";
import { runnerOf } from "../../lib/emulator.ts";

const ARCHS = ["x64", "arm64"] as const;
const RESULT = '{"id":1,"result":{"status":0}}\n';

let directory = "";
/** The program, with what runs it here. */
let program: readonly string[] = [];
/** Stands in for Node: says what it was given, and which signals it has blocked. */
let node = "";
let server: Server | undefined;
const asked: string[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "exec-client-"));
  node = join(directory, "node");
  writeFileSync(
    node,
    [
      "#!/bin/sh",
      // By the shell itself, as it clears the mask of what it starts.
      'while read -r line; do case $line in SigBlk*) echo "$line" ;; esac; done </proc/self/status',
      'if [ "$3" = exec-answered ]; then printf "<%s>" "$1" "$2" "$3"; cat "/proc/self/fd/$4"',
      'else for word in "$@"; do printf "<%s>" "$word"; done; fi',
      "exit 42",
    ].join("\n"),
  );
  chmodSync(node, 0o755);
});

afterEach(async () => {
  const closed = server?.[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
  asked.length = 0;
  await closed;
  server = undefined;
});

/** A berthd, in `run`, that answers each line in this way. */
async function daemon(answer: (socket: Socket, line: string) => void, run = join(directory, "run")): Promise<void> {
  server = createServer((socket) => {
    let rest = "";
    socket.setEncoding("utf8").on("error", () => undefined);
    socket.on("data", (chunk: string) => {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        asked.push(line);
        answer(socket, line);
      }
    });
  });
  // Made by a short name: a socket's path may have 107 bytes.
  const made = mkdtempSync(join(tmpdir(), "exec-client-"));
  server.listen(join(made, SOCKET));
  await once(server, "listening");
  mkdirSync(dirname(run), { recursive: true });
  renameSync(made, run);
}

interface Given {
  readonly env?: NodeJS.ProcessEnv;
  /** Of the shell that becomes it. */
  readonly redirections?: string;
}

function start(words: readonly string[], { env = {}, redirections = "" }: Given = {}): ChildProcess {
  const command = `exec "$@" ${redirections}`;
  return spawn("sh", ["-c", command, "sh", ...program, node, "--flag", "berth.cjs", "exec", ...words], {
    env: { PATH: process.env["PATH"], BERTH_RUN: join(directory, "run"), ...env },
    cwd: directory,
    stdio: ["ignore", "pipe", "inherit"],
  });
}

async function run(words: readonly string[], given?: Given): Promise<{ status: number | null; said: string }> {
  const child = start(words, given);
  const [said, [status]] = await Promise.all([child.stdout === null ? "" : text(child.stdout), once(child, "close")]);
  return { status: status as number | null, said };
}

/** What Node is given to say. */
function answered(answer: string): { status: number; said: string } {
  const { status, said } = handedOver("exec-answered");
  return { status, said: said + answer };
}

/** What Node is given, with no signal blocked. */
function handedOver(...words: readonly string[]): { status: number; said: string } {
  const all = ["--flag", "berth.cjs", ...words].map((word) => `<${word}>`);
  return { status: 42, said: `SigBlk:\t0000000000000000\n${all.join("")}` };
}

describe.each(ARCHS)("the client for %s", (arch) => {
  beforeEach((ctx) => {
    const path = fileURLToPath(new URL(`../../../src/exec-client/exec-client-${arch}`, import.meta.url));
    program = [...runnerOf(ctx, arch), path];
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
      await daemon((socket) => socket.write(RESULT));
      expect(await run(words)).toEqual({ status: 0, said: "" });
      expect(asked.map((line) => JSON.parse(line))).toEqual([
        {
          id: 1,
          method: "exec",
          params: { name: words[0], argv, user: null, directory: null, environment: [], stdio: "own" },
        },
      ]);
    });

    test("where the environment says, whatever the length of the path", async () => {
      const root = join(directory, "r".repeat(120));
      await daemon((socket) => socket.write(RESULT), join(root, "run"));
      const own = { BERTH_RUN: "", BERTH_ROOT: root };
      expect(await run(["web", "ls"], { env: own })).toEqual({ status: 0, said: "" });
      expect(await run(["web", "ls"], { env: { BERTH_RUN: join(root, "run"), BERTH_ROOT: "/none" } })).toMatchObject({
        status: 0,
      });
      expect(await run(["web", "ls"], { env: { BERTH_RUN: "", BERTH_ROOT: "r".repeat(120) } })).toMatchObject({
        status: 0,
      });
      expect(await run(["web", "ls"], { env: { BERTH_RUN: "/none", BERTH_ROOT: root } })).toEqual(
        handedOver("exec", "web", "ls"),
      );
      expect(asked).toHaveLength(3);
    });
  });

  describe("what comes of it", () => {
    test.each([0, 1, 7, 125, 137, 255])("the command's exit status: %i", async (status) => {
      await daemon((socket) => socket.write(`{"id":1,"event":{"pid":77}}\n{"id":1,"result":{"status":${status}}}\n`));
      expect(await run(["web", "ls"])).toEqual({ status, said: "" });
    });

    test("an answer that comes in pieces", async () => {
      const letters = [...`{"id":1,"event":{"pid":77}}\n{"id":1,"result":{"status":3}}\n`];
      const next = (socket: Socket): void => {
        const letter = letters.shift();
        if (letter !== undefined) socket.write(letter, () => setImmediate(next, socket));
      };
      await daemon(next);
      expect(await run(["web", "ls"])).toEqual({ status: 3, said: "" });
    });

    test("what it can't say is for Node to say", async () => {
      const answer =
        '{"id":1,"error":{"message":"no \\"such\\" machine","hint":null,"kind":"NoSuchMachine","exitStatus":1}}';
      await daemon((socket) => socket.write(`{"id":1,"event":{"pid":77}}\n${answer}\n`));
      expect(await run(["web", "ls"])).toEqual(answered(answer));
    });

    test("an answer that is longer than a word can be", async () => {
      const answer = `{"id":1,"error":{"message":"${"x".repeat(300_000)}","hint":null,"kind":null,"exitStatus":1}}`;
      await daemon((socket) => socket.write(`${answer}\n`));
      expect(await run(["web", "ls"])).toEqual(answered(answer));
    });

    test("a runtime that can't be executed is named, and no exit status of the command's", async () => {
      await daemon((socket) => socket.destroy());
      rmSync(node);
      const said = `berth: execve ${node} failed with errno 2: berth's runtime can't be executed\n`;
      expect(await run(["web", "ls"], { redirections: "2>&1" })).toEqual({ status: 125, said });
    });

    test("berthd goes before it has answered", async () => {
      await daemon((socket) => socket.destroy());
      expect(await run(["web", "ls"])).toEqual(answered(""));
      expect(await run(["web", "--", "x".repeat(131_071), "y".repeat(131_071)])).toEqual(answered(""));
    });

    test("what berthd can't do in this way is done in another one", async () => {
      const answer = '{"id":1,"error":{"message":"no","hint":null,"kind":"NotSupported","exitStatus":1}}';
      await daemon((socket) => socket.write(`${answer}\n`));
      expect(await run(["web", "--", "ls"])).toEqual(handedOver("exec", "web", "--", "ls"));
    });

    test("a command that has begun is not run again", async () => {
      const answer = '{"id":1,"error":{"message":"no","hint":null,"kind":"NotSupported","exitStatus":1}}';
      await daemon((socket) => socket.write(`{"id":1,"event":{"pid":77}}\n${answer}\n`));
      expect(await run(["web", "ls"])).toEqual(answered(answer));
    });

    test("a berthd that reads nothing keeps nobody from being ended", async () => {
      await daemon(() => undefined);
      server?.on("connection", (socket) => socket.pause());
      const connected = server === undefined ? undefined : once(server, "connection");
      const child = start(["web", "--", ...Array.from({ length: 8 }, () => "x".repeat(131_071))]);
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
      await daemon((socket, line) => {
        if (line.includes("signal")) socket.write('{"id":1,"result":{"status":9}}\n');
      });
      const child = start(["web", "ls"]);
      await expect.poll(() => asked).toHaveLength(1);
      child.kill(signal);
      expect(await once(child, "exit")).toEqual([9, null]);
      expect(asked.slice(1).map((line) => JSON.parse(line))).toEqual([{ id: 1, signal: number }]);
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
      await daemon((socket) => socket.write(RESULT));
      expect(await run(words)).toEqual(handedOver("exec", ...words));
      expect(asked).toEqual([]);
    });

    test.each(["0<&-", "2>&-"])("one of 0 to 2 is closed: %s", async (redirections) => {
      await daemon((socket) => socket.write(RESULT));
      expect(await run(["web", "ls"], { redirections })).toEqual(handedOver("exec", "web", "ls"));
      expect(asked).toEqual([]);
    });

    test("one of them is a terminal", async () => {
      await daemon((socket) => socket.write(RESULT));
      expect(await run(["web", "ls"], { redirections: "0<>/dev/ptmx" })).toEqual(handedOver("exec", "web", "ls"));
      expect(asked).toEqual([]);
    });

    test("no daemon, or one that has gone", async () => {
      expect(await run(["web", "ls"])).toEqual(handedOver("exec", "web", "ls"));
      mkdirSync(join(directory, "run"));
      expect(await run(["web", "ls"])).toEqual(handedOver("exec", "web", "ls"));
      writeFileSync(join(directory, "run", SOCKET), "");
      expect(await run(["web", "ls"])).toEqual(handedOver("exec", "web", "ls"));
    });

    test("a place that has to be resolved", async () => {
      await daemon((socket) => socket.write(RESULT));
      mkdirSync(join(directory, "above"));
      const env = { BERTH_RUN: `${directory}/above/../run` };
      expect(await run(["web", "ls"], { env })).toEqual(handedOver("exec", "web", "ls"));
      expect(asked).toEqual([]);
    });
  });
});
