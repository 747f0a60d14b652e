import { expect, test } from "vitest";
import { DaemonGone } from "../../../src/cli/daemon-client.ts";
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

test("a daemon that has gone is the failure of the only one", async () => {
  const act = (): Promise<void> => Promise.reject(new DaemonGone());
  await expect(allAtOnce(["m0"], act)).rejects.toThrow(/^berthd has gone$/);
});
