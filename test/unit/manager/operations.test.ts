/** One operation a machine at a time. */
import { expect, test } from "vitest";
import { BerthError } from "../../../src/errors.ts";
import { Operations } from "../../../src/manager/operations.ts";

test("who comes meanwhile is told what it is busy with; another machine is not", async () => {
  const operations = new Operations();
  const over = Promise.withResolvers<number>();
  const first = operations.run("m", "start", () => over.promise);
  expect(operations.current("m")).toBe("start");
  const second = await operations.run("m", "pause", async () => 0).catch((error: unknown) => error);
  expect(second).toBeInstanceOf(BerthError);
  expect(second).toMatchObject({
    kind: "Busy",
    message: expect.stringMatching(/^m is busy: start for \d+\.\d s$/),
    hint: expect.stringContaining("berth terminate m"),
  });
  expect(await operations.run("other", "pause", async () => 2)).toBe(2);
  over.resolve(1);
  expect(await first).toBe(1);
  expect(operations.current("m")).toBeUndefined();
  expect(await operations.run("m", "pause", async () => 3)).toBe(3);
});

test("one that fails is over, too", async () => {
  const operations = new Operations();
  await expect(operations.run("m", "start", () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  await expect(
    operations.run("m", "start", () => {
      throw new Error("at once");
    }),
  ).rejects.toThrow("at once");
  expect(operations.current("m")).toBeUndefined();
});
