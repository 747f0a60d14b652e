/** There is no range of ids left for one more machine. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { PICK_WINDOW, RANGE_SIZE } from "../../src/host/id-ranges.ts";
import { LEDGER_VERSION, ledgerPath } from "../../src/host/ranges.ts";
import { berthRoot, buildBerth } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

test("PrivateUsers=pick: that is said, with who has them; no machine shares one, or goes without", async () => {
  await using root = berthRoot();
  const tree = await probeTree({ at: join(root.machines, "m"), init: true });
  const count = (PICK_WINDOW.last - PICK_WINDOW.first) / RANGE_SIZE + 1;
  const entries = Array.from({ length: count }, (_, n) => [`x${n}`, PICK_WINDOW.first + n * RANGE_SIZE] as const);
  const ledger = ledgerPath(root.machines);
  const write = (ranges: readonly (readonly [string, number])[]): void =>
    writeFileSync(ledger, JSON.stringify({ version: LEDGER_VERSION, ranges: Object.fromEntries(ranges) }));
  write(entries);
  const full = readFileSync(ledger, "utf8");
  for (const words of [
    ["run", "-D", tree, "--", ...probe("ids")],
    ["start", "m"],
  ]) {
    const { status, stdout, stderr } = await root.berth(...words);
    expect([status === 0, stdout]).toEqual([false, ""]);
    expect(stderr).toContain(`no range of ${RANGE_SIZE} ids is free between`);
    expect(stderr).toContain("machines that are removed give theirs back; berth doctor counts what is left");
  }
  expect(readFileSync(ledger, "utf8")).toBe(full);
  const doctor = JSON.parse((await root.berth("doctor", "--json")).stdout) as readonly Readonly<
    Record<string, string>
  >[];
  expect(JSON.stringify(doctor)).toContain(`is free: x0 and ${count - 1} more machines have ranges there`);
  // Somebody's is given back.
  const [free = "", base = 0] = entries[1234] ?? [];
  write(entries.filter(([name]) => name !== free));
  const { status, stdout } = await root.berth("run", "-q", "-D", tree, "--", ...probe("cat", "/proc/self/uid_map"));
  expect([status, stdout.includes(`${base}`)]).toEqual([0, true]);
  // What is left of the others is not looked for.
  write([["m", base]]);
});
