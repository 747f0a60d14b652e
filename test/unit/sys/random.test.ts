import { expect, test } from "vitest";
import { randomId } from "../../../src/sys/random.ts";

test("ids are random, and of the form of a version 4 UUID", () => {
  const ids = Array.from({ length: 1000 }, randomId);
  expect(new Set(ids).size).toBe(1000);
  for (const id of ids) expect(id).toMatch(/^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$/);
});
