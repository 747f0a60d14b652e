/** What machinectl(1)'s options do to what is printed. */
import { describe, expect, test } from "vitest";
import { spelledOut } from "../../../src/cli/property-options.ts";
import { listTable } from "../../../src/cli/show-list.ts";
import { table } from "../../../src/cli/table.ts";
import { outputMode } from "../../../src/cli/table-options.ts";
import { commandOf } from "../../../src/cli/verb-first.ts";
import { prepare } from "../../../src/cli/verbs/exec.ts";
import { VERBS } from "../../../src/cli/verbs.ts";
import { viewOfStopped } from "../../../src/manager/machine-view.ts";

describe("berth list: addresses", () => {
  const views = [["10.9.8.7", "10.9.8.8", "fd00::2"], [], ["10.9.8.9"]].map((addresses, index) => ({
    ...viewOfStopped(`m${index}`, "/t", null),
    addresses,
  }));
  const cells = (most: number): unknown => listTable(views, most).rows.map((row) => row[6]);

  test.each([
    [1, [["10.9.8.7…"], "-", ["10.9.8.9"]]],
    [2, [["10.9.8.7", "10.9.8.8…"], "-", ["10.9.8.9"]]],
    [3, [["10.9.8.7", "10.9.8.8", "fd00::2"], "-", ["10.9.8.9"]]],
    [Number.POSITIVE_INFINITY, [["10.9.8.7", "10.9.8.8", "fd00::2"], "-", ["10.9.8.9"]]],
  ])("%d at most", (most, wanted) => {
    expect(cells(most)).toEqual(wanted);
    expect(listTable(views, most).header[6]).toBe("ADDRESSES");
  });

  test("0: there is no such column", () => {
    const { header, rows } = listTable(views, 0);
    expect(header).toEqual(["MACHINE", "CLASS", "SERVICE", "STATE", "OS", "VERSION", "INIT", "LEADER", "NOTE"]);
    expect(rows.map(({ length }) => length)).toEqual([9, 9, 9]);
  });
});

describe("tables", () => {
  const rows = [
    ["a", ["1", "22"], "x"],
    ["bbb", [], "-"],
  ] as const;

  test("a cell of several lines makes its row as high", () => {
    expect(table(["N", "M", "O"], rows)).toBe("N    M   O\na    1   x\n     22\nbbb      -\n");
  });

  test("without a header columns are as wide as what is in them", () => {
    expect(table([], [["a", "b"]])).toBe("a  b\n");
  });

  test("what a cell's lines say does nothing to a terminal", () => {
    expect(table([], [[["\x1b[31m", "a\nb"], "c"]])).toBe("\\u{1b}[31m  c\na\\u{a}b\n");
  });
});

test.each([
  [undefined, "text"],
  ["short-iso", "text"],
  ["cat", "text"],
  ["json", "json"],
  ["json-seq", "json"],
  ["json-pretty", "json-pretty"],
])("-o %s is %s", (mode, wanted) => {
  expect(outputMode(mode)).toBe(wanted);
});

test.each(["", "jso", "xml"])("-o %j is none", (mode) => {
  expect(() => outputMode(mode)).toThrow(/unknown mode/);
});

test("-P NAME is -p NAME --value, and adds up with -p", () => {
  expect(spelledOut({ property: ["a"] })).toEqual({ property: ["a"] });
  expect(spelledOut({ P: ["a"] })).toMatchObject({ property: ["a"], value: true });
  expect(spelledOut({ property: ["a"], P: ["b"] })).toMatchObject({ property: ["a", "b"], value: true });
});

test.each(Object.keys(VERBS))("%s takes --no-pager and --no-ask-password, and does not show them", async (verb) => {
  const command = await commandOf(verb, ["--no-pager", "--no-ask-password"]);
  expect(command?.parseOptions(["--no-pager", "--no-ask-password"])).toEqual({ operands: [], unknown: [] });
  if (verb !== "run" && verb !== "plan") expect(command?.helpInformation()).not.toMatch(/--no-(pager|ask)/);
});

test.each([
  ["shell", "-q"],
  ["login", "--quiet"],
  ["status", "-l"],
  ["list", "-l"],
  ["list-images", "--full"],
  ["list-images", "-q"],
  ["list-transfers", "--no-legend"],
])("%s takes %s", async (verb, option) => {
  expect((await commandOf(verb))?.parseOptions([option])).toEqual({ operands: [], unknown: [] });
});

describe("exec: options between the machine's name and the command are put before the name", () => {
  test.each([
    ["m id", "m id"],
    ["m -- id -u", "m -- id -u"],
    ["m --user=u -- id", "--user=u m -- id"],
    ["m --user u id -u", "--user u m id -u"],
    ["-t m -u u id -t", "-t -u u m id -t"],
    ["m -tu u -- id", "-tu u m -- id"],
    ["m -uu -E A=b id -E c", "-uu -E A=b m id -E c"],
    ["m -t -- -t", "-t m -- -t"],
    ["m -x", "-x m"],
    ["m --cwd", "--cwd m"],
    ["m --help", "--help m"],
    ["-- m -t", "-- m -t"],
    ["m - -t", "m - -t"],
    ["--user=u", "--user=u"],
    ["", ""],
  ])("%s", (line, wanted) => {
    expect(prepare(line.split(" ").filter(Boolean)).join(" ")).toBe(wanted);
  });
});
