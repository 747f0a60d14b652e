import { describe, expect, test } from "vitest";
import { splitKeys, wishOf } from "../../../src/cli/top-keys.ts";
import { SORT_KEYS, sortRows, type TopRow, TopRows } from "../../../src/cli/top-rows.ts";
import { drawFrame, type Scene } from "../../../src/cli/top-screen.ts";
import { sparkline, topTable, totalLine } from "../../../src/cli/top-table.ts";
import { NO_LOAD } from "../../../src/machine/resources.ts";
import type { MachineLoad } from "../../../src/manager/loads.ts";

const load = (name: string, at: number, more: Partial<MachineLoad> = {}): MachineLoad => ({
  ...NO_LOAD,
  ...{ name, at, state: "running", leader: 7 },
  ...more,
});
const row = (name: string, more: Partial<TopRow> = {}): TopRow => {
  const { at: _, ...rest } = load(name, 0);
  return { ...rest, cpu: null, readRate: null, writeRate: null, history: [], ...more };
};

describe("rates", () => {
  test("are of the time between two looks", () => {
    const rows = new TopRows();
    expect(rows.next([load("a", 1000, { cpuUsec: 500, ioRead: 0, ioWritten: 10 })])[0]).toMatchObject({
      cpu: null,
      readRate: null,
      history: [],
    });
    const [second] = rows.next([load("a", 3000, { cpuUsec: 1_000_500, ioRead: 4096, ioWritten: 10 })]);
    expect(second).toMatchObject({ cpu: 50, readRate: 2048, writeRate: 0, history: [50] });
    const [third] = rows.next([load("a", 4000, { cpuUsec: 3_000_500 })]);
    expect(third).toMatchObject({ cpu: 200, readRate: null, history: [50, 200] });
  });

  test("begin anew with another boot, and are kept where nothing new was read", () => {
    const rows = new TopRows();
    rows.next([load("a", 0, { cpuUsec: 0 })]);
    rows.next([load("a", 1000, { cpuUsec: 1e6 })]);
    expect(rows.next([load("a", 1000, { cpuUsec: 1e6, state: "paused" })])[0]).toMatchObject({
      cpu: 100,
      state: "paused",
    });
    expect(rows.next([load("a", 2000, { cpuUsec: 5e6, leader: 8 })])[0]).toMatchObject({ cpu: null, history: [] });
    expect(rows.next([load("a", 3000, { cpuUsec: 10, leader: 8 })])[0]).toMatchObject({ cpu: null });
  });
});

describe("order", () => {
  const rows = [
    row("b", { cpu: 1, memory: 5, tasks: 1, readRate: 1 }),
    row("a", { cpu: 1, memory: 9, tasks: 7, writeRate: 3, pressure: { cpu: 4, memory: null, io: 1 } }),
    row("c"),
  ];
  test.each([
    ["cpu", "abc"],
    ["memory", "abc"],
    ["tasks", "abc"],
    ["io", "abc"],
    ["pressure", "abc"],
    ["name", "abc"],
  ] as const)("by %s the most comes first, what is not known last", (key, names) => {
    expect(sortRows(rows, { key, inverse: false }).map(({ name }) => name)).toEqual([...names]);
  });
  test("the other way round", () => {
    expect(sortRows(rows, { key: "memory", inverse: true }).map(({ name }) => name)).toEqual(["c", "b", "a"]);
    expect(sortRows(rows, { key: "name", inverse: true }).map(({ name }) => name)).toEqual(["c", "b", "a"]);
  });
});

const full = row("web", {
  ...{ cpu: 12.34, memory: 200 << 20, memoryMax: 1 << 30, tasks: 20, tasksMax: 100, readRate: 1024, writeRate: 0 },
  ...{ pressure: { cpu: 1.4, memory: 0, io: null }, history: [0, 50, 100] },
});

describe("table", () => {
  test("what there is, and dashes for what is not known", () => {
    const { header, lines } = topTable([full, row("db")], { columns: undefined, sort: "cpu", sparks: undefined });
    expect([header, ...lines]).toEqual(
      [
        "MACHINE  STATE    CPU%*       MEMORY   TASKS  READ/s  WRITE/s  PSI C/M/I",
        "web      running   12.3  200.0M/1.0G  20/100    1.0K       0B      1/0/-",
        "db       running      -            -       -       -        -      -/-/-",
      ].map((line) => line.trimEnd()),
    );
  });

  test.each([200, 80, 60, 40, 25, 12, 3, 1])("no line is wider than %i columns, and the name is there", (columns) => {
    const { header, lines } = topTable([full], { columns, sort: "cpu", sparks: "utf-8" });
    for (const line of [header, ...lines]) expect(line.length).toBeLessThanOrEqual(columns);
    expect(lines[0]?.startsWith("web".slice(0, columns))).toBe(true);
    if (columns >= 25) expect(lines[0]).toContain("12.3");
  });

  test("a sparkline where there is room", () => {
    expect(topTable([full], { columns: 200, sort: "name", sparks: "utf-8" }).lines[0]).toMatch(/ {2}▁▅█$/);
    expect(topTable([full], { columns: 200, sort: "name", sparks: "ascii" }).lines[0]).toMatch(/ {2}\.\+@$/);
  });

  test("a sparkline is by one CPU, or by its own highest", () => {
    expect(sparkline([0, 100, 200, 400], 9, "ascii")).toBe(".-+@");
    expect(sparkline([1, 2, 3], 2, "ascii")).toBe("..");
  });

  test("all together", () => {
    expect(totalLine([full, row("db", { tasks: 2 })])).toBe("2 machines, CPU 12.3 %, memory 200.0M, 22 tasks");
    expect(totalLine([row("db")])).toBe("1 machine");
  });
});

describe("keys", () => {
  test("are taken apart, escape sequences whole", () => {
    expect(splitKeys("q\x1b[A\x1bOB\x1b[5~é\x1b")).toEqual(["q", "\x1b[A", "\x1bOB", "\x1b[5~", "é", "\x1b"]);
  });

  test("as top and htop have them", () => {
    expect(["q", "\x03", "\x1b[21~"].map((key) => wishOf(key)?.kind)).toEqual(["quit", "quit", "quit"]);
    expect(["\x1b[A", "\x1bOB"].map(wishOf)).toEqual([
      { kind: "move", by: -1 },
      { kind: "move", by: 1 },
    ]);
    expect(["x", "constructor", "\x1b[99~"].map(wishOf)).toEqual([undefined, undefined, undefined]);
  });

  test("< and > go through all orders, I turns one round", () => {
    const pressed = (key: string, before: (typeof SORT_KEYS)[number]) => {
      const wish = wishOf(key);
      return wish?.kind === "order" ? wish.order({ key: before, inverse: false }) : undefined;
    };
    expect(SORT_KEYS.map((key) => pressed(">", key)?.key)).toEqual([...SORT_KEYS.slice(1), "cpu"]);
    expect(SORT_KEYS.map((key) => pressed("<", key)?.key)).toEqual(["name", ...SORT_KEYS.slice(0, -1)]);
    expect(pressed("I", "io")).toEqual({ key: "io", inverse: true });
  });
});

describe("screen", () => {
  const scene: Scene = {
    rows: [full, row("db")],
    order: { key: "cpu", inverse: false },
    selected: "db",
    message: "",
    help: false,
    size: { rows: 24, columns: 80 },
    colours: false,
    sparks: "ascii",
  };
  const shown = (more: Partial<Scene> = {}): readonly string[] =>
    drawFrame({ ...scene, ...more })
      // biome-ignore lint/suspicious/noControlCharactersInRegex: what a terminal is told
      .replace(/\x1b\[[0-9;?]*[A-Za-z]/g, "")
      .split("\r\n");

  test("the selected machine is marked", () => {
    expect(shown().map((line) => line.slice(0, 5))).toEqual(["berth", "  MAC", "  web", "> db ", "Enter"]);
    expect(drawFrame(scene)).not.toContain("\x1b[7m");
    expect(drawFrame({ ...scene, colours: true })).toContain("\x1b[7m> db");
  });

  test.each([
    [24, 80],
    [3, 20],
    [1, 1],
    [5, 200],
  ])("%i lines of %i columns hold it", (rows, columns) => {
    const many = Array.from({ length: 50 }, (_, index) => row(`machine${index}`));
    for (const help of [true, false]) {
      const lines = shown({ rows: many, selected: "machine40", size: { rows, columns }, help });
      expect(lines.length).toBeLessThanOrEqual(rows);
      for (const line of lines) expect(line.length).toBeLessThanOrEqual(columns);
    }
    if (rows > 4) expect(shown({ rows: many, selected: "machine40", size: { rows, columns } })[2]).toContain("machine");
  });

  test("what is foreign does nothing to the terminal", () => {
    expect(shown({ message: "a\x1b[2Jb\n" }).at(-1)).toBe("a\\u{1b}[2Jb\\u{a}");
    expect(shown({ rows: [] })[2]).toBe("no machines");
  });
});
