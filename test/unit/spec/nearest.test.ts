import { expect, test } from "vitest";
import { nearest, suggest } from "../../../src/spec/nearest.ts";

const KEYS = ["Boot", "Bind", "BindReadOnly", "Hostname", "Timezone"];

test.each([
  ["boot", "Boot"],
  ["Bot", "Boot"],
  ["Boto", "Boot"],
  ["Bimd", "Bind"],
  ["BindReadOny", "BindReadOnly"],
  ["Hostnmae", "Hostname"],
  ["TimeZone", "Timezone"],
  ["B", undefined],
  ["Network", undefined],
  ["", undefined],
  ["__proto__", undefined],
])("%j is nearest to %s", (word, expected) => {
  expect(nearest(word, KEYS)).toBe(expected);
});

test("the nearest of several wins, then the first", () => {
  expect(nearest("Bint", ["Bent", "Bind", "Bin"])).toBe("Bent");
  expect(nearest("Bindx", ["Boots", "Bind"])).toBe("Bind");
});

test("a suggestion is a question", () => {
  expect(suggest("Boto", KEYS)).toBe("did you mean Boot?");
  expect(suggest("zzz", KEYS)).toBeUndefined();
});

test("a word of a megabyte costs nothing", () => {
  expect(nearest("x".repeat(2 ** 20), KEYS)).toBeUndefined();
});
