import { expect, test } from "vitest";
import { printable, quote, visible } from "../../../src/spec/quote.ts";

test.each([
  ["plain text", '"plain text"'],
  ["größe 日本 😀", '"größe 日本 😀"'],
  ['a"b\\c', '"a\\"b\\\\c"'],
  ["a\u001b[31m", '"a\\u{1b}[31m"'],
  ["\u009b31m", '"\\u{9b}31m"'],
  ["a\nb\r\0", '"a\\u{a}b\\u{d}\\u{0}"'],
  ["\u202egnp.exe", '"\\u{202e}gnp.exe"'],
  ["a\u00a0b\u2028c", '"a\\u{a0}b\\u{2028}c"'],
  ["\uD800", '"\\u{d800}"'],
  ["x".repeat(81), `"${"x".repeat(80)}…"`],
])("%j is shown as %s", (text, shown) => {
  expect(quote(text)).toBe(shown);
});

test("printable is the same without quotes", () => {
  expect(printable('a"b\\c\u001b')).toBe('a"b\\c\\u{1b}');
});

test("visible leaves it whole", () => {
  expect(visible(`"${"x".repeat(200)}\u001b\n`)).toBe(`"${"x".repeat(200)}\\u{1b}\\u{a}`);
});
