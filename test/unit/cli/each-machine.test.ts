import { expect, test } from "vitest";
import { allAtOnce } from "../../../src/cli/each-machine.ts";

test("as many at once as berthd takes of a client, each machine once", async () => {
  const names = Array.from({ length: 500 }, (_, index) => `m${index}`);
  const acted: string[] = [];
  let [now, most] = [0, 0];
  const status = await allAtOnce([...names, "m0"], async (name) => {
    acted.push(name);
    now += 1;
    most = Math.max(most, now);
    await new Promise((resolve) => setImmediate(resolve));
    now -= 1;
  });
  expect({ status, acted, most }).toEqual({ status: 0, acted: names, most: 200 });
});
