import { expect, test } from "vitest";
import { HttpRefusal } from "../../../src/transfer/http.ts";

test.each([
  ["", "the server answers 403 Forbidden"],
  ["403 Forbidden", "the server answers 403 Forbidden"],
  ["ask the owner", "the server answers 403 Forbidden: ask the owner"],
])("what a page says besides its status is told, once: %j", (said, message) => {
  expect(new HttpRefusal(403, "403 Forbidden", said).message).toBe(message);
});
