import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { runCommand } from "../../../src/host/command.ts";

test("the status, and both outputs by line, with nothing in them that a terminal acts on", async () => {
  const lines: string[] = [];
  const script = "printf 'a\\033[31m\\nb'; echo c >&2; exit 3";
  const result = await runCommand("sh", ["-c", script], { onLine: (line) => lines.push(line) });
  expect(result).toMatchObject({ ok: false, status: "ended with status 3" });
  expect([...result.tail].sort()).toEqual(["a?[31m", "b", "c"]);
  expect(lines.sort()).toEqual(["a?[31m", "b", "c"]);
});

test("only the end of a long output is kept", async () => {
  const { tail } = await runCommand("seq", ["1", "5000"]);
  expect(tail.length).toBe(100);
  expect(tail.at(-1)).toBe("5000");
});

test("a line without end takes no memory, and the end of it no line", async () => {
  const before = process.memoryUsage().rss;
  const { tail } = await runCommand("sh", ["-c", "head -c 300M /dev/zero | tr '\\0' x; printf '\ny\r\nz'"]);
  expect(tail.map((line) => line.length)).toEqual([240, 1, 1]);
  expect(process.memoryUsage().rss - before).toBeLessThan(150 << 20);
});

test("of a long line there is its beginning and its end, in however many parts it came", async () => {
  const script =
    "printf 'tar: '; head -c 100000 /dev/zero | tr '\\0' x; sleep 0.1; printf 'y: File name'; sleep 0.1; echo ' too long'";
  const { tail } = await runCommand("sh", ["-c", script]);
  expect(tail).toEqual([`tar: ${"x".repeat(154)}…${"x".repeat(59)}y: File name too long`]);
  const asked = await runCommand("sh", ["-c", script], { lineMax: 10 });
  expect(asked.tail).toEqual(["tar: xxxxx"]);
  const exact = await runCommand("sh", ["-c", "printf '%0240d\n%0241d\n' 1 2"]);
  expect(exact.tail).toEqual([`${"0".repeat(239)}1`, `${"0".repeat(159)}…${"0".repeat(79)}2`]);
});

test("the user's environment does not reach the program", async () => {
  process.env["BERTH_TEST_LEAK"] = "1";
  const { tail } = await runCommand("env", []);
  delete process.env["BERTH_TEST_LEAK"];
  expect(tail).toContain("LC_ALL=C.UTF-8");
  expect(tail.join("\n")).not.toContain("BERTH_TEST_LEAK");
});

test("aborting kills the program and its children, and rejects with the reason", async () => {
  const abort = new AbortController();
  const pids: number[] = [];
  const running = runCommand("sh", ["-c", "sleep 60 & echo $!; echo $$; wait"], {
    signal: abort.signal,
    onLine: (line) => pids.push(Number(line)),
  });
  while (pids.length < 2) await sleep(10);
  abort.abort(new Error("enough"));
  await expect(running).rejects.toThrow("enough");
  for (const pid of pids) await expect.poll(() => stateOf(pid)).toMatch(/^(gone|Z)$/);
});

test("an aborted signal starts nothing", async () => {
  await expect(runCommand("true", [], { signal: AbortSignal.abort(new Error("before")) })).rejects.toThrow("before");
});

/** A killed process dies when it is next run, and may still be a zombie of whoever adopted it. */
async function stateOf(pid: number): Promise<string> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return /\) (\w)/.exec(text)?.[1] ?? "gone";
}
