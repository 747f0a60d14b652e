/** What a client may have written into a request. */
import { describe, expect, test } from "vitest";
import { flag, number, oneOf, type Params, text, textOrNull, texts } from "../../../src/daemon/params.ts";

const READERS: Readonly<Record<string, (params: Params) => unknown>> = {
  text: (params) => text(params, "key"),
  "text or null": (params) => textOrNull(params, "key"),
  texts: (params) => texts(params, "key"),
  flag: (params) => flag(params, "key"),
  number: (params) => number(params, "key", 1, 64),
  "one of": (params) => oneOf(params, "key", ["all", "leader"]),
};

const GOOD: Readonly<Record<string, readonly unknown[]>> = {
  text: ["", "x", "__proto__"],
  "text or null": ["x", null],
  texts: [[], ["a", ""]],
  flag: [true, false],
  number: [1, 64],
  "one of": ["all", "leader"],
};

const ODD = [
  ...[undefined, null, 0, 65, 1.5, -1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 60, "", "x", "a\0b", true],
  ...[[], ["a", 1], ["a\0b"], [["a"]], {}, { length: 1 }, "allx", "toString"],
];

describe.each(Object.keys(READERS))("%s", (kind) => {
  const read = READERS[kind] as (params: Params) => unknown;
  const good = GOOD[kind] ?? [];

  test("takes what is right as it is", () => {
    for (const value of good) expect(read({ key: value })).toEqual(value);
  });

  test("takes nothing else, and says which it was", () => {
    const lawful = kind === "text or null" ? [undefined, ""] : kind === "text" ? ["allx", "toString"] : [];
    for (const value of ODD) {
      const isGood = [...good, ...lawful].some((each) => JSON.stringify(each) === JSON.stringify(value));
      if (isGood || (typeof value === "string" && !value.includes("\0") && kind.startsWith("text") && kind !== "texts"))
        continue;
      expect(() => read({ key: value }), String(value)).toThrow(/^key is missing or wrong, expected /);
    }
  });

  test("takes nothing that lies in a prototype", () => {
    if (kind === "text or null") return;
    expect(() => read({})).toThrow(/^key is missing/);
  });
});

test("a key that is not there, though all objects have it, is none", () => {
  expect(() => text({}, "constructor")).toThrow(/^constructor is missing/);
  expect(() => texts(JSON.parse('{"__proto__":["a"]}') as Params, "argv")).toThrow(/^argv is missing/);
});
