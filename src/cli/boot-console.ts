import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Paths } from "../host/paths.ts";
import { recordsDirectory } from "../machine/places.ts";
import { consoleText } from "../spec/console-text.ts";
import { LogFollower } from "../supervise/log-follower.ts";
import { LogLines } from "../supervise/log-lines.ts";

/** Until a launch has made its record. */
const LOOK_MS = 20;

/** Tells each line that a machine says on its console while it boots, until `signal` is aborted or the boot is over. */
export async function watchBoot(
  name: string,
  paths: Paths,
  onLine: (line: string) => void,
  signal: AbortSignal,
): Promise<void> {
  for (let follower: LogFollower | undefined; follower === undefined; ) {
    try {
      follower = follow(join(recordsDirectory(paths), name), onLine);
      signal.addEventListener("abort", () => follower?.close(), { once: true });
    } catch {
      await sleep(LOOK_MS, undefined, { signal }).catch(() => undefined); // it is not there yet
    }
    if (signal.aborted) follower?.close();
    if (signal.aborted) return;
  }
}

function follow(directory: string, onLine: (line: string) => void): LogFollower {
  const lines = new LogLines();
  return new LogFollower(directory, {
    onFrames: (frames) => {
      for (const { text } of lines.feed(frames)) {
        const shown = consoleText(text).trim();
        if (shown !== "") onLine(shown);
      }
      return true;
    },
    onCaughtUp: () => undefined,
    onEnd: () => undefined,
  });
}
