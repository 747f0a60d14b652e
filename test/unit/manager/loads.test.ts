import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { NO_LOAD, readLoad } from "../../../src/machine/resources.ts";
import { type Loaded, Loads } from "../../../src/manager/loads.ts";

const directory = mkdtempSync(join(tmpdir(), "loads-"));
afterAll(() => rmSync(directory, { recursive: true }));

function cgroup(name: string, files: Readonly<Record<string, string>>): string {
  const path = join(directory, name);
  mkdirSync(path, { recursive: true });
  for (const [file, text] of Object.entries(files)) writeFileSync(join(path, file), text);
  return path;
}

test("all that a cgroup tells, over all disks", () => {
  const path = cgroup("all", {
    "cpu.stat": "usage_usec 1234\nuser_usec 1000\n",
    "cpu.max": "50000 100000\n",
    "memory.current": "4096\n",
    "memory.max": "max\n",
    "pids.current": "3\n",
    "pids.max": "10\n",
    "io.stat": "8:0 rbytes=1 wbytes=2 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=10 wbytes=20 rios=1 wios=1\n",
    "cpu.pressure": "some avg10=1.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=9.00 avg60=0.00 avg300=0.00 total=1\n",
    "memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
  });
  expect(readLoad(path)).toEqual({
    ...{ cpuUsec: 1234, cpuQuota: 50, memory: 4096, memoryMax: null, tasks: 3, tasksMax: 10 },
    ...{ ioRead: 11, ioWritten: 22, pressure: { cpu: 1.5, memory: 0, io: null } },
  });
  expect(readLoad(join(directory, "gone"))).toEqual({ ...NO_LOAD, tasks: 0 });
});

test("those that are wanted are read, and not again at once: however many look", async () => {
  const running: Loaded[] = ["a", "b"].map((name) => ({
    name,
    state: "running",
    leader: 1,
    cgroup: cgroup(name, { "cpu.stat": "usage_usec 1\n" }),
  }));
  const loads = new Loads(() => running);
  const [first] = await loads.read(["a"]);
  cgroup("a", { "cpu.stat": "usage_usec 2\n" });
  expect(await loads.read(["a", "nobody"])).toEqual([first]);
  const both = await loads.read([]);
  expect(both.map(({ name, cpuUsec }) => [name, cpuUsec])).toEqual([
    ["a", 1],
    ["b", 1],
  ]);
  // Another boot of it is another thing.
  running[0] = { ...(running[0] as Loaded), leader: 2 };
  expect((await loads.read(["a"]))[0]).toMatchObject({ cpuUsec: 2, leader: 2 });
  running.shift();
  expect((await loads.read([])).map(({ name }) => name)).toEqual(["b"]);
});

test("of what nothing can be told there is its name", async () => {
  const loads = new Loads(() => [{ name: "m", state: "unknown", leader: null, cgroup: null }]);
  expect(await loads.read([])).toMatchObject([{ name: "m", state: "unknown", ...NO_LOAD }]);
});
