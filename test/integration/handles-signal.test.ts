import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { handlesSignal } from "../../src/supervise/shutdown.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { probeProgram } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";

checkLeaks();

const SIGTERM = 15;
const SIGPROF = 27;
const TIMES = 3000;

async function end(child: ChildProcess): Promise<void> {
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}

test.runIf(needs("cc"))(
  "who waits in sigwaitinfo(2) handles what it waits for, also on its way in and out",
  async () => {
    const init = spawn(await probeProgram(), ["init", "--term"], { stdio: ["ignore", "pipe", "inherit"] });
    // Always being woken, and mostly running when it is looked at.
    const waker = spawn("sh", ["-c", `while kill -CHLD ${init.pid} 2>/dev/null; do :; done`], { stdio: "ignore" });
    try {
      await once(init.stdout, "data");
      const seen = { term: 0, prof: 0 };
      for (let time = 0; time < TIMES; time++) if (await handlesSignal(init.pid ?? -1, SIGTERM)) seen.term++;
      if (await handlesSignal(init.pid ?? -1, SIGPROF)) seen.prof++;
      expect(seen).toEqual({ term: TIMES, prof: 0 });
    } finally {
      waker.kill("SIGKILL");
      init.kill("SIGKILL");
    }
  },
);

test("who only runs handles nothing", async () => {
  const child = spawn("sh", ["-c", "while :; do :; done"], { stdio: "ignore" });
  try {
    expect(await handlesSignal(child.pid ?? -1, SIGTERM)).toBe(false);
  } finally {
    await end(child);
  }
});
