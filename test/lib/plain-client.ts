import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import type { TestContext } from "vitest";
import { SOCKET } from "../../src/manager/protocol.ts";
import { runnerOf } from "./emulator.ts";

export const ARCHS = ["x64", "arm64"] as const;

export interface Given {
  readonly env?: NodeJS.ProcessEnv;
  /** Of the shell that becomes it: what it does before, and its redirections then. */
  readonly before?: string;
  readonly redirections?: string;
}

export interface End {
  readonly status: number | null;
  /** On both outputs. */
  readonly said: string;
}

/** A program of src/plain-client, with what stands in for its berthd and for Node. */
export class PlainClient {
  readonly directory: string;
  /** What berthd was asked, lines. */
  readonly asked: string[] = [];
  /** Says what it was given, and which signals it has blocked; of a connection, in place of its fd, that it is one, and what is in it. */
  node: readonly string[];
  server: Server | undefined;
  /** Its clients. */
  readonly sockets: Socket[] = [];
  readonly #verb: string;
  readonly #program: readonly string[];

  constructor(ctx: TestContext, verb: "exec" | "start", arch: (typeof ARCHS)[number]) {
    const path = fileURLToPath(new URL(`../../src/plain-client/${verb}-client-${arch}`, import.meta.url));
    this.#verb = verb;
    this.#program = [...runnerOf(ctx, arch), path];
    // Not before: it may skip the test, and then there is nothing to be removed.
    this.directory = mkdtempSync(join(tmpdir(), "plain-client-"));
    this.node = [join(this.directory, "node"), "--flag", "berth.cjs"];
    const script = [
      "#!/bin/sh",
      // By the shell itself, as it clears the mask of what it starts.
      'while read -r line; do case $line in SigBlk*) echo "$line" ;; esac; done </proc/self/status',
      "fd=; case $3 in exec-answered | start-begun)",
      '  fd=$4; printf "<%s>" "$1" "$2" "$3"; shift 4',
      '  [ ! -S "/proc/self/fd/$fd" ] || printf "<socket>"',
      "esac",
      'for word in "$@"; do printf "<%s>" "$word"; done',
      '[ -z "$fd" ] || eval "dd bs=64k count=1 iflag=nonblock status=none <&$fd 2>/dev/null"',
      "exit 42",
    ];
    writeFileSync(this.node[0] ?? "", script.join("\n"));
    chmodSync(this.node[0] ?? "", 0o755);
  }

  /** By the Node that runs this, from the sources. */
  withNode(): void {
    this.node = [process.execPath, "--no-warnings", fileURLToPath(new URL("quickly.ts", import.meta.url))];
  }

  /** A berthd, in `run`, that answers each line in this way. */
  async daemon(answer: (socket: Socket, line: string) => void, run = join(this.directory, "run")): Promise<void> {
    this.server = createServer((socket) => {
      let rest = "";
      this.sockets.push(socket);
      socket.setEncoding("utf8").on("error", () => undefined);
      socket.on("data", (chunk: string) => {
        const lines = (rest + chunk).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) {
          this.asked.push(line);
          answer(socket, line);
        }
      });
    });
    // Made by a short name: a socket's path may have 107 bytes.
    const made = mkdtempSync(join(tmpdir(), "plain-client-"));
    this.server.listen(join(made, SOCKET));
    await once(this.server, "listening");
    mkdirSync(dirname(run), { recursive: true });
    renameSync(made, run);
  }

  start(words: readonly string[], { env = {}, before = "true", redirections = "" }: Given = {}): ChildProcess {
    const command = `${before}; exec "$@" ${redirections}`;
    return spawn("sh", ["-c", command, "sh", ...this.#program, ...this.node, this.#verb, ...words], {
      env: { PATH: process.env["PATH"], BERTH_RUN: join(this.directory, "run"), ...env },
      cwd: this.directory,
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  run(words: readonly string[], given?: Given): Promise<End> {
    return endOf(this.start(words, given));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    const closed = this.server?.[Symbol.asyncDispose]();
    rmSync(this.directory, { recursive: true, force: true });
    await closed;
  }
}

export async function endOf(child: ChildProcess): Promise<End> {
  const outputs = [child.stdout, child.stderr].map((output) => (output === null ? "" : text(output)));
  const [[status], ...said] = await Promise.all([once(child, "close"), ...outputs]);
  return { status: status as number | null, said: said.join("") };
}

/** What the stand-in for Node says of its words, no signal being blocked, and what it is handed. */
export function handedOver(words: readonly string[], handed = ""): End {
  const all = ["--flag", "berth.cjs", ...words].map((word) => `<${word}>`);
  return { status: 42, said: `SigBlk:\t0000000000000000\n${all.join("")}${handed}` };
}
