import { afterEach, expect, test } from "vitest";
import { OneATurn } from "../../../src/manager/one-a-turn.ts";
import { monotonic } from "../../../src/sys/clock.ts";

/** Turns of the event loop so far. */
let turns = 0;
let counter: NodeJS.Immediate;
function count(): void {
  turns++;
  counter = setImmediate(count);
}
afterEach(() => clearImmediate(counter));

function work(ms: number): void {
  for (const end = monotonic() + ms; monotonic() < end; );
}

/** In which turn each of so many went on, who works for so long then. */
async function goOn(pieces: OneATurn, howMany: number, ms = 0): Promise<readonly number[]> {
  counter = setImmediate(count);
  const all = Array.from({ length: howMany }, async () => {
    await pieces.turn();
    const turn = turns;
    await Promise.resolve(); // what a piece waits for that is there already is part of it
    work(ms);
    return turn;
  });
  const at = await Promise.all(all);
  clearImmediate(counter);
  return at.map((turn) => turn - (at[0] ?? 0));
}

test("one a turn of the event loop, in the order in which they asked", async () => {
  expect(await goOn(new OneATurn(), 4)).toEqual([0, 1, 2, 3]);
});

test("as many a turn as begin within the budget", async () => {
  expect(await goOn(new OneATurn(10_000), 5)).toEqual([0, 0, 0, 0, 0]);
  const at = await goOn(new OneATurn(20), 4, 25);
  expect(at).toEqual([0, 1, 2, 3]);
});

test("who asks again in its turn gets the next one", async () => {
  const pieces = new OneATurn(10_000);
  const seen: number[] = [];
  counter = setImmediate(count);
  for (let round = 0; round < 3; round++) {
    await pieces.turn();
    seen.push(turns);
  }
  expect(seen.map((turn) => turn - (seen[0] ?? 0))).toEqual([0, 1, 2]);
});
