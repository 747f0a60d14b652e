import { EventEmitter } from "node:events";
import { expect, test } from "vitest";
import { BerthError } from "../../../src/errors.ts";
import { Transfer, type TransferEvents, type Work } from "../../../src/transfer/transfer.ts";

const FACTS = { type: "import-tar", local: "web", remote: "", verify: "no" } as const;

function start(work: Work): { transfer: Transfer; events: string[] } {
  const emitter = new EventEmitter<TransferEvents>();
  const events: string[] = [];
  emitter.on("new", () => events.push("new"));
  emitter.on("progress", (_, fraction) => events.push(`at ${fraction}`));
  emitter.on("log", (_, priority, line) => events.push(`${priority} ${line}`));
  emitter.on("removed", (_, outcome) => events.push(outcome));
  return { transfer: new Transfer(1, FACTS, emitter, work), events };
}

test("progress only grows, and in steps that are worth an event", async () => {
  const { transfer, events } = start(async ({ progress }) => {
    for (const fraction of [0.1, 0.105, 0.05, 0.2, 0.995, 1]) progress(fraction);
  });
  await transfer.done;
  expect(events).toEqual(["new", "at 0.1", "at 0.2", "at 0.995", "at 1", "done"]);
});

test("the last lines of what was said are kept", async () => {
  const { transfer } = start(async ({ log }) => {
    for (let line = 0; line < 1000; line++) log(`${line}`);
  });
  await transfer.done;
  expect(transfer.log.length).toBe(100);
  expect(transfer.log.at(-1)).toBe("999");
});

test("a failure is told as the last line, and rejects", async () => {
  const { transfer, events } = start(() => Promise.reject(new BerthError("no room")));
  await expect(transfer.done).rejects.toThrow("no room");
  expect(events).toEqual(["new", "3 no room", "failed"]);
});

test("cancelling wins over whatever the work then fails with", async () => {
  const { transfer, events } = start(
    ({ signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("killed")))),
  );
  await Promise.resolve();
  transfer.cancel();
  await expect(transfer.done).rejects.toThrow("transfer 1 was cancelled");
  expect(events.at(-1)).toBe("canceled");
});
