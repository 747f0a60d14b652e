import { Socket } from "node:net";
import { isatty } from "node:tty";
import type { Caller } from "../supervise/console.ts";
import { duplicate, makeBlocking } from "../sys/files.ts";
import { pipe } from "../sys/sockets.ts";

export interface CallerStdio {
  /** `stdio:0` to `stdio:2`: what the payload gets. The launch owns them. */
  readonly fds: ReadonlyMap<string, number>;
  /** Resolves when everything the payload wrote has been passed on. */
  drained(): Promise<void>;
  close(): void;
}

/**
 * --pipe: the payload gets the caller's fds as they are, so that pipelines are binary-safe and end where they should.
 * A terminal is never among them, since a program that has one can type into it (TIOCSTI): it is replaced by a pipe
 * that is copied to or from it.
 */
export function callerStdio(caller: Caller): CallerStdio {
  const fds = new Map<string, number>();
  const copies: Promise<void>[] = [];
  const sockets: Socket[] = [];
  for (const target of [0, 1, 2]) {
    if (!isatty(target)) {
      makeBlocking(target);
      fds.set(`stdio:${target}`, duplicate(target));
      continue;
    }
    const [readEnd, writeEnd] = pipe();
    fds.set(`stdio:${target}`, target === 0 ? readEnd : writeEnd);
    const socket = new Socket({
      fd: target === 0 ? writeEnd : readEnd,
      readable: target !== 0,
      writable: target === 0,
    });
    sockets.push(socket);
    if (target === 0) {
      socket.on("error", () => caller.stdin.unpipe(socket)); // the payload has closed its stdin
      caller.stdin.pipe(socket);
    } else {
      const to = target === 1 ? caller.stdout : process.stderr;
      copies.push(new Promise((resolve) => socket.on("close", () => resolve()).pipe(to, { end: false })));
    }
  }
  return {
    fds,
    drained: async () => {
      await Promise.all(copies);
    },
    close: () => {
      caller.stdin.pause();
      for (const socket of sockets) socket.destroy();
    },
  };
}
