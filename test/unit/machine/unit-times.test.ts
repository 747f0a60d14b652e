import { expect, test } from "vitest";
import { managerTimes, unitTimes } from "../../../src/machine/unit-times.ts";

const block = (id: string, exit: number, active: number, inactive: number): string =>
  [
    `Id=${id}`,
    `InactiveExitTimestampMonotonic=${exit}`,
    `ActiveEnterTimestampMonotonic=${active}`,
    `InactiveEnterTimestampMonotonic=${inactive}`,
  ].join("\n");

test("a unit is up when it is active, or when a command that ends by itself has ended; in order", () => {
  const answer = [
    block("b.service", 2_000_000, 2_500_000, 0),
    block("once.service", 1_000_000, 0, 1_250_500),
    block("never.service", 0, 0, 0),
    block("starting.service", 3_000_000, 0, 0),
    // It was up before, and starts again.
    block("again.service", 4_000_000, 3_000_000, 3_500_000),
  ].join("\n\n");
  expect(unitTimes(`${answer}\n`)).toEqual([
    { name: "once.service", began: 1000, ended: 1250.5 },
    { name: "b.service", began: 2000, ended: 2500 },
    { name: "starting.service", began: 3000, ended: null },
    { name: "again.service", began: 4000, ended: null },
  ]);
});

test("what is no answer tells nothing", () => {
  expect(unitTimes("")).toEqual([]);
  expect(unitTimes("Id=a\nInactiveExitTimestampMonotonic=-1\n\nnonsense\n\n=\n")).toEqual([]);
});

test("phases of the manager, and its end", () => {
  const answer = [
    "GeneratorsStartTimestampMonotonic=10000",
    "GeneratorsFinishTimestampMonotonic=20000",
    "UnitsLoadStartTimestampMonotonic=20000",
    "UnitsLoadFinishTimestampMonotonic=0",
    "FinishTimestampMonotonic=0",
  ].join("\n");
  expect(managerTimes(answer)).toEqual({
    phases: [
      { name: "runs generators", began: 10, ended: 20 },
      { name: "reads its units", began: 20, ended: null },
    ],
    finished: null,
  });
  expect(managerTimes("FinishTimestampMonotonic=5000\n").finished).toBe(5);
});
