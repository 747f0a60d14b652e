import { expect, test } from "vitest";
import { PlacedError, placed, showPath } from "../../../src/copy/placed-error.ts";
import { BerthError } from "../../../src/errors.ts";

test("names are shown so that nothing in them acts on a terminal, and bytes that are no text as numbers", () => {
  const path = [Buffer.from("a"), Buffer.from([0xff, 0x62]), Buffer.from("c\n\u001b[2J")];
  expect(showPath(path)).toBe("a/\\xffb/c\\u{a}\\u{1b}[2J");
});

test("the innermost place is kept", () => {
  const inner = placed(new BerthError("why", { hint: "so" }), [Buffer.from("a"), Buffer.from("b")]);
  const outer = placed(inner, [Buffer.from("a")]);
  expect(outer).toBe(inner);
  expect(outer).toBeInstanceOf(PlacedError);
  expect(outer).toMatchObject({ message: "why", hint: "so" });
});

test("what is no failure of a file's has no place", () => {
  const error = new TypeError("a mistake of ours");
  expect(placed(error, [Buffer.from("a")])).toBe(error);
});
