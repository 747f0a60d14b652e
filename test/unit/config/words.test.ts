import { describe, expect, test } from "vitest";
import { PATHS, PLAIN_WORDS, QUOTED_WORDS, splitWords } from "../../../src/config/words.ts";

function split(...[value, rules, limit]: Parameters<typeof splitWords>): unknown {
  const result = splitWords(value, rules, limit);
  return "what" in result ? `${result.offset}: ${result.what}` : result.words.map((word) => word.text);
}

// Compared with the words systemd-nspawn 252 passes to the command of Parameters=.
test.each([
  ["", []],
  ["   ", []],
  [" a  b\t", ["a", "b"]],
  ['"a b" c', ["a b", "c"]],
  ["'a \"b' \"c 'd\"", ['a "b', "c 'd"]],
  ['f"g h"i', ["fg hi"]],
  ["\"a\"'b'c", ["abc"]],
  ["\"\" a ''", ["", "a", ""]],
  ["a\\tb \\ c\\", ["a\\tb", "\\", "c\\"]],
  ['"q\\"', ["q\\"]],
  ['a "b', '2: quote " is not closed'],
  ["a'", "1: quote ' is not closed"],
])("quoted words of %j", (value, expected) => {
  expect(split(value, QUOTED_WORDS)).toEqual(expected);
});

test.each([
  ["", [""]],
  ["/a", ["/a"]],
  ["/a:/b", ["/a", "/b"]],
  [":/b", ["", "/b"]],
  ["/a:", ["/a", ""]],
  ["::", ["", "", ""]],
  ["/a\\:b:/c\\\\d", ["/a:b", "/c\\d"]],
  ["/\\n", ["/n"]],
  ['"/a:b"', ['"/a', 'b"']],
  ["/a b", ["/a b"]],
  ["/a\\", "2: a backslash at the end escapes nothing"],
])("paths of %j", (value, expected) => {
  expect(split(value, PATHS)).toEqual(expected);
});

test("plain words know no quotes", () => {
  expect(split('a "b c" d\\', PLAIN_WORDS)).toEqual(["a", '"b', 'c"', "d\\"]);
});

describe("a limit", () => {
  test.each([
    ["/a:/b:rbind:\\x", ["/a", "/b"], { text: "rbind:\\x", offset: 6 }],
    ["/a:/b:", ["/a", "/b"], { text: "", offset: 6 }],
    ["/a:/b", ["/a", "/b"], undefined],
    ["/a", ["/a"], undefined],
  ])("leaves the rest of %j alone", (value, expected, rest) => {
    expect(split(value, PATHS, 2)).toEqual(expected);
    expect(splitWords(value, PATHS, 2)).toMatchObject({ rest });
  });
});

test("words know where they begin", () => {
  expect(splitWords(' a "b c"  d', QUOTED_WORDS)).toMatchObject({
    words: [
      { text: "a", offset: 1 },
      { text: "b c", offset: 3 },
      { text: "d", offset: 10 },
    ],
  });
});

// Quadratic steps would take minutes here and run into the test's time limit.
test.each(["a ", '"" ', "'x'", "\\:", "::", '"'])("a megabyte of %j takes linear time", (piece) => {
  const value = piece.repeat(2 ** 20 / piece.length);
  for (const rules of [QUOTED_WORDS, PATHS, PLAIN_WORDS]) expect(() => splitWords(value, rules)).not.toThrow();
});
