import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { LONG, LONG_GUESTS, spread } from "../../lib/sequencer.ts";

const INTEGRATION = join(import.meta.dirname, "../../integration");

test("what is said to take long is there", () => {
  const files = [...LONG.map((name) => `${name}.test.ts`), ...LONG_GUESTS.map((name) => `${name}.vm.test.ts`)];
  expect(files.filter((file) => !existsSync(join(INTEGRATION, file)))).toEqual([]);
});

test("guests are spread over the others, after the first of these; all are there, in their order", () => {
  const others = Array.from({ length: 20 }, (_, index) => index);
  const all = spread<string | number>(["a", "b", "c"], others);
  expect(all.filter((each) => typeof each === "number")).toEqual(others);
  const places = ["a", "b", "c"].map((guest) => all.indexOf(guest));
  expect(places[0]).toBe(6);
  expect(places.map((place, index) => place - (places[index - 1] ?? place))).toEqual([0, 6, 6]);
});

test("of no guests or few others nothing is lost", () => {
  expect(spread([], [1, 2])).toEqual([1, 2]);
  expect(spread<string | number>(["a", "b"], [1])).toEqual([1, "a", "b"]);
  expect(spread(["a"], [])).toEqual(["a"]);
});
