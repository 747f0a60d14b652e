/** How far a copy into or out of a machine is, on a terminal. */
import { appendFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { BERTH, berthRoot, buildBerth } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { openTerminal } from "../lib/pty.ts";
import { needs } from "../lib/requires.ts";
import { shellMachine } from "../lib/shell-machine.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const MIB = 1 << 20;
/** What takes several times the 0.1 s before the first word of it, also where it is all in memory. */
const SIZE = 1280;

test("copy-to and copy-from draw it, which only grows, and take it off again; a pipe and who wants quiet get none", async () => {
  await using root = berthRoot();
  const tree = await shellMachine(root, "m");
  expect(await root.berth("start", "m")).toMatchObject({ status: 0 });
  const [large, back] = [join(root.path, "large"), join(root.path, "back")];
  for (let count = 0; count < SIZE; count++) appendFileSync(large, Buffer.alloc(MIB, count));
  for (const words of [
    ["copy-to", "m", large, "/mnt/large"],
    ["copy-from", "m", "/mnt/large", back],
  ]) {
    await using terminal = openTerminal({ rows: 24, columns: 100 });
    const { status } = await terminal.spawn([BERTH, ...words], { ...process.env, ...root.env, LC_ALL: "C" }).end;
    expect(status).toBe(0);
    const shares = [...terminal.output.matchAll(/ (\d+) %/g)].map(([, share]) => Number(share));
    expect(shares.length, terminal.output).toBeGreaterThan(0);
    expect(shares).toEqual(shares.toSorted((a, b) => a - b));
    expect(terminal.output).toMatch(/copying, [\d.]+M/);
    // The line is cleared, and the cursor is there again.
    expect(terminal.output.endsWith("\r\x1b[K\x1b[?25h")).toBe(true);
    expect(await root.berth(words[0] ?? "", "--force", ...words.slice(1))).toMatchObject({
      status: 0,
      stdout: "",
      stderr: "",
    });
  }
  expect(statSync(back).size).toBe(SIZE * MIB);
  await using terminal = openTerminal({ rows: 24, columns: 100 });
  const quiet = terminal.spawn([BERTH, "copy-to", "-q", "--force", "m", large, "/mnt/large"], {
    ...process.env,
    ...root.env,
  });
  expect([(await quiet.end).status, terminal.output]).toEqual([0, ""]);
  rmSync(join(tree, "mnt/large"));
  expect((await root.berth("terminate", "m")).status).toBe(0);
});
