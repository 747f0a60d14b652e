import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, type TestContext, test } from "vitest";
import { realPath } from "../../../src/host/paths.ts";
import { SOCKET } from "../../../src/manager/protocol.ts";
import { findTool, needsHere } from "../../lib/requires.ts";

const EMULATORS = { x64: "qemu-x86_64-static", arm64: "qemu-aarch64-static" } as const;
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
  directory = mkdtempSync(join(tmpdir(), "plain-client-"));
  node = join(directory, "node");
  writeFileSync(
    node,
    '#!/bin/sh\ngrep SigBlk /proc/self/status\nfor word in "$@"; do printf "<%s>" "$word"; done\nexit 42\n',
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
  const made = mkdtempSync(join(tmpdir(), "plain-client-"));
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

/** stderr is a pipe, too: a terminal is for Node. */
function spawnClient(words: readonly string[], { env = {}, redirections = "" }: Given = {}): ChildProcess {
  const command = `exec "$@" ${redirections}`;
  return spawn("sh", ["-c", command, "sh", ...program, node, "--flag", "berth.cjs", ...words], {
    env: { PATH: process.env["PATH"], BERTH_RUN: join(directory, "run"), ...env },
    cwd: directory,
    stdio: ["ignore", "pipe", "pipe"],
  });
}

interface End {
  readonly status: number | null;
  readonly said: string;
}

async function exec(words: readonly string[], given?: Given): Promise<End> {
  const child = spawnClient(["exec", ...words], given);
  const [said, [status]] = await Promise.all([child.stdout === null ? "" : text(child.stdout), once(child, "close")]);
  return { status: status as number | null, said };
}

/** What Node is given, with no signal blocked. */
function handedOver(...words: readonly string[]): { status: number; said: string } {
  const all = ["--flag", "berth.cjs", ...words].map((word) => `<${word}>`);
  return { status: 42, said: `SigBlk:\t0000000000000000\n${all.join("")}` };
}

describe.each(ARCHS)("exec by the client for %s", (arch) => {
  beforeEach((ctx) => {
    program = clientOf(ctx, arch);
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
      expect(await exec(words)).toEqual({ status: 0, said: "" });
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
      expect(await exec(["web", "ls"], { env: own })).toEqual({ status: 0, said: "" });
      expect(await exec(["web", "ls"], { env: { BERTH_RUN: join(root, "run"), BERTH_ROOT: "/none" } })).toMatchObject({
        status: 0,
      });
      expect(await exec(["web", "ls"], { env: { BERTH_RUN: "", BERTH_ROOT: "r".repeat(120) } })).toMatchObject({
        status: 0,
      });
      expect(await exec(["web", "ls"], { env: { BERTH_RUN: "/none", BERTH_ROOT: root } })).toEqual(
        handedOver("exec", "web", "ls"),
      );
      expect(asked).toHaveLength(3);
    });
  });

  describe("what comes of it", () => {
    test.each([0, 1, 7, 125, 137, 255])("the command's exit status: %i", async (status) => {
      await daemon((socket) => socket.write(`{"id":1,"event":{"pid":77}}\n{"id":1,"result":{"status":${status}}}\n`));
      expect(await exec(["web", "ls"])).toEqual({ status, said: "" });
    });

    test("an answer that comes in pieces", async () => {
      const letters = [...`{"id":1,"event":{"pid":77}}\n{"id":1,"result":{"status":3}}\n`];
      const next = (socket: Socket): void => {
        const letter = letters.shift();
        if (letter !== undefined) socket.write(letter, () => setImmediate(next, socket));
      };
      await daemon(next);
      expect(await exec(["web", "ls"])).toEqual({ status: 3, said: "" });
    });

    test("what it can't say is for Node to say", async () => {
      const answer =
        '{"id":1,"error":{"message":"no \\"such\\" machine","hint":null,"kind":"NoSuchMachine","exitStatus":1}}';
      await daemon((socket) => socket.write(`{"id":1,"event":{"pid":77}}\n${answer}\n`));
      expect(await exec(["web", "ls"])).toEqual(handedOver("answered", "exec", answer));
    });

    test("berthd goes before it has answered", async () => {
      await daemon((socket) => socket.destroy());
      expect(await exec(["web", "ls"])).toEqual(handedOver("answered", "exec", ""));
      expect(await exec(["web", "--", "x".repeat(131_071), "y".repeat(131_071)])).toEqual(
        handedOver("answered", "exec", ""),
      );
    });

    test("what berthd can't do in this way is done in another one", async () => {
      const answer = '{"id":1,"error":{"message":"no","hint":null,"kind":"NotSupported","exitStatus":1}}';
      await daemon((socket) => socket.write(`${answer}\n`));
      expect(await exec(["web", "--", "ls"])).toEqual(handedOver("exec", "web", "--", "ls"));
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
      const child = spawnClient(["exec", "web", "ls"]);
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
      expect(await exec(words)).toEqual(handedOver("exec", ...words));
      expect(asked).toEqual([]);
    });

    test.each(["0<&-", "2>&-"])("one of 0 to 2 is closed: %s", async (redirections) => {
      await daemon((socket) => socket.write(RESULT));
      expect(await exec(["web", "ls"], { redirections })).toEqual(handedOver("exec", "web", "ls"));
      expect(asked).toEqual([]);
    });

    test("one of them is a terminal", async () => {
      await daemon((socket) => socket.write(RESULT));
      expect(await exec(["web", "ls"], { redirections: "0<>/dev/ptmx" })).toEqual(handedOver("exec", "web", "ls"));
      expect(asked).toEqual([]);
    });

    test("no daemon, or one that has gone", async () => {
      expect(await exec(["web", "ls"])).toEqual(handedOver("exec", "web", "ls"));
      mkdirSync(join(directory, "run"));
      expect(await exec(["web", "ls"])).toEqual(handedOver("exec", "web", "ls"));
      writeFileSync(join(directory, "run", SOCKET), "");
      expect(await exec(["web", "ls"])).toEqual(handedOver("exec", "web", "ls"));
    });

    test("a place that has to be resolved", async () => {
      await daemon((socket) => socket.write(RESULT));
      mkdirSync(join(directory, "above"));
      const env = { BERTH_RUN: `${directory}/above/../run` };
      expect(await exec(["web", "ls"], { env })).toEqual(handedOver("exec", "web", "ls"));
      expect(asked).toEqual([]);
    });
  });
});

describe.each(ARCHS)("start by the client for %s", (arch) => {
  let store: { readonly BERTH_ETC: string; readonly BERTH_MACHINES: string };

  beforeEach((ctx) => {
    program = clientOf(ctx, arch);
    store = { BERTH_ETC: join(directory, "etc"), BERTH_MACHINES: join(directory, "machines") };
    mkdirSync(store.BERTH_MACHINES);
  });

  async function startThem(names: readonly string[], given: Given = {}): Promise<End> {
    const child = spawnClient(["start", ...names], { ...given, env: { ...store, ...given.env } });
    const outputs = [child.stdout, child.stderr].map((output) => (output === null ? "" : text(output)));
    const [[status], ...said] = await Promise.all([once(child, "close"), ...outputs]);
    return { status: status as number | null, said: said.join("") };
  }

  const idOf = (line: string): number => (JSON.parse(line) as { id: number }).id;

  test("asks for each machine, by the places that it has, and ends with all of them", async () => {
    await daemon((socket, line) => socket.write(`{"id":${idOf(line)},"result":null}\n`));
    expect(await startThem(["web", "Db-2_x"])).toEqual({ status: 0, said: "" });
    const places = { etc: realPath(store.BERTH_ETC), machines: realPath(store.BERTH_MACHINES) };
    expect(asked.map((line) => JSON.parse(line))).toEqual(
      ["web", "Db-2_x"].map((name, index) => ({
        id: index + 1,
        method: "start",
        params: { name, timeout: null },
        places,
      })),
    );
  });

  test("places are said without links, there or not", async () => {
    await daemon((socket, line) => socket.write(`{"id":${idOf(line)},"result":null}\n`));
    mkdirSync(join(directory, 'real "etc"'));
    symlinkSync('real "etc"', join(directory, "etc"));
    symlinkSync(".", join(directory, "above"));
    const env = { BERTH_MACHINES: join(directory, "above/none"), BERTH_ETC: join(directory, "above//etc/") };
    expect(await startThem(["web"], { env })).toEqual({ status: 0, said: "" });
    expect(asked.map((line) => (JSON.parse(line) as { places: unknown }).places)).toEqual([
      { etc: join(realPath(directory), 'real "etc"'), machines: join(realPath(directory), "none") },
    ]);
  });

  test.each([
    [["web"], "web: booting\n"],
    [["web", "db"], "2 machines: booting\n"],
  ])("says once that they boot: %s", async (names, said) => {
    await daemon((socket, line) => {
      const id = idOf(line);
      socket.write(
        `{"id":${id},"event":{"status":"a"}}\n{"id":${id},"event":{"status":"b"}}\n{"id":${id},"result":null}\n`,
      );
    });
    expect(await startThem(names)).toEqual({ status: 0, said });
  });

  test("does without a reader of that", async () => {
    await daemon((socket) => {
      socket.write('{"id":1,"event":{"status":"a"}}\n');
      setTimeout(() => socket.write('{"id":1,"result":null}\n'), 50);
    });
    const child = spawnClient(["start", "web"], { env: store });
    child.stderr?.destroy();
    child.stdout?.destroy();
    expect(await once(child, "exit")).toEqual([0, null]);
  });

  test("failures and news are for Node to say, when all have ended", async () => {
    const failure = '{"id":2,"error":{"message":"no","hint":null,"kind":null,"exitStatus":1}}';
    const news = '{"id":1,"event":{"said":"weaker"}}';
    await daemon((socket, line) => {
      if (idOf(line) === 2) socket.write(`${failure}\n`);
      if (idOf(line) === 3) socket.write(`${news}\n{"id":3,"result":null}\n{"id":1,"result":null}\n`);
    });
    expect(await startThem(["web", "db", "mail"])).toEqual(handedOver("answered", "start", failure, news));
  });

  test("berthd goes before it has answered", async () => {
    await daemon((socket) => {
      socket.write('{"id":1,"result":null}\n');
      socket.end();
    });
    expect(await startThem(["web", "db"])).toEqual(handedOver("answered", "start", ""));
  });

  const CANCELLED = '"error":{"message":"it was cancelled","hint":null,"kind":null,"exitStatus":1}}\n';

  test.each(["SIGHUP", "SIGINT", "SIGTERM"] as const)("%s gives up what is not done yet", async (signal) => {
    await daemon((socket, line) => {
      if (line.includes("cancel")) socket.write(`{"id":${idOf(line)},${CANCELLED}`);
    });
    const child = spawnClient(["start", "web", "db"], { env: store });
    await expect.poll(() => asked).toHaveLength(2);
    child.kill(signal);
    expect(await once(child, "exit")).toEqual([130, null]);
    expect(asked.slice(2).map((line) => JSON.parse(line))).toEqual([1, 2].map((id) => ({ id, cancel: true })));
  });

  test("what had been said before it was interrupted is said", async () => {
    const failure = '{"id":1,"error":{"message":"no","hint":null,"kind":null,"exitStatus":1}}';
    await daemon((socket, line) => {
      if (idOf(line) === 1 && !line.includes("cancel")) socket.write(`${failure}\n`);
      if (idOf(line) === 2 && line.includes("cancel")) socket.write(`{"id":2,${CANCELLED}`);
    });
    const child = spawnClient(["start", "web", "db"], { env: store });
    const said = child.stdout === null ? "" : text(child.stdout);
    await expect.poll(() => asked).toHaveLength(2);
    await new Promise((resolve) => setTimeout(resolve, 100));
    child.kill("SIGTERM");
    await once(child, "exit");
    expect(await said).toBe(handedOver("answered", "start-interrupted", failure).said);
  });

  test("a second one ends it", async () => {
    await daemon(() => undefined);
    const child = spawnClient(["start", "web"], { env: store });
    await expect.poll(() => asked).toHaveLength(1);
    child.kill("SIGTERM");
    await expect.poll(() => asked).toHaveLength(2);
    child.kill("SIGTERM");
    expect(await once(child, "exit")).toEqual([null, "SIGTERM"]);
  });

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
  ])("is left to Node, and berthd not asked for: %s", async (_, names) => {
    await daemon((socket) => socket.write(RESULT));
    expect(await startThem(names)).toEqual(handedOver("start", ...names));
    expect(asked).toEqual([]);
  });

  test.each<[string, Given]>([
    ["a closed stdin", { redirections: "0<&-" }],
    ["a terminal for stderr", { redirections: "2<>/dev/ptmx" }],
    ["settings in a place that has to be resolved", { env: { BERTH_ETC: "/etc/../none" } }],
    ["machines in a place whose parent is not there", { env: { BERTH_MACHINES: "/none/of/them" } }],
    ["a relative one", { env: { BERTH_MACHINES: "none" } }],
    ["one in letters that are not ASCII", { env: { BERTH_ETC: "/größe" } }],
  ])("is left to Node, and berthd not asked for: %s", async (_, given) => {
    await daemon((socket) => socket.write(RESULT));
    expect(await startThem(["web"], given)).toEqual(handedOver("start", "web"));
    expect(asked).toEqual([]);
  });

  test("as many as berthd takes at once", async () => {
    await daemon((socket, line) => socket.write(`{"id":${idOf(line)},"result":null}\n`));
    expect(await startThem(Array.from({ length: 200 }, (_, index) => `m${index}`))).toEqual({ status: 0, said: "" });
    expect(new Set(asked.map(idOf)).size).toBe(200);
  });
});

test.each([["list"], ["poweroff", "web"], ["--help"]])("another verb is left to Node: %s", async (...words) => {
  program = [fileURLToPath(new URL(`../../../src/plain-client/plain-client-${process.arch}`, import.meta.url))];
  const child = spawnClient([...words, "more"]);
  expect(child.stdout === null ? "" : await text(child.stdout)).toBe(handedOver(...words, "more").said);
});

function clientOf(ctx: TestContext, arch: keyof typeof EMULATORS): readonly string[] {
  const path = fileURLToPath(new URL(`../../../src/plain-client/plain-client-${arch}`, import.meta.url));
  return process.arch === arch ? [path] : [emulator(ctx, arch), path];
}

function emulator(ctx: TestContext, arch: keyof typeof EMULATORS): string {
  const name = EMULATORS[arch];
  if (process.arch === "x64") needsHere(ctx, `tool:${name}`);
  return findTool(name) ?? ctx.skip(`needs tool:${name}: no ${name} in PATH`);
}
