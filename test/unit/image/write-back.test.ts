import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { writeBeside } from "../../../src/image/write-back.ts";

test("what the work gives and throws comes through, and nothing writes on after its end", async () => {
  expect(await writeBeside("/tmp", async () => sleep(100, "made"))).toBe("made");
  const failing = writeBeside("/tmp", async () => {
    await sleep(100);
    throw new Error("the work");
  });
  await expect(failing).rejects.toThrow("the work");
});

test("a place that can't be written to is told of when the work is done", async () => {
  let done = false;
  const work = async (): Promise<void> => {
    await sleep(60);
    done = true;
  };
  await expect(writeBeside("/nonexistent/tree", work)).rejects.toThrow("ENOENT");
  expect(done).toBe(true);
});
