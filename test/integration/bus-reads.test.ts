/** Properties of machines that one client reads again and again: each answer is what there is then. */
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, expect, test } from "vitest";
import { berthRoot, buildBerth } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { Machine1Client } from "../lib/machine1-client.ts";
import { probe } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";
import { shellMachine } from "../lib/shell-machine.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:dbus-daemon", "no-systemd");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

test("a machine that is read all the time is told of as it is, and when it is gone, and as the next one", async () => {
  await using root = berthRoot();
  await shellMachine(root, "m");
  const ok = async (...words: readonly string[]): Promise<void> =>
    expect(await root.berth(...words), words.join(" ")).toMatchObject({ status: 0 });
  await ok("start", "m");
  await using client = await Machine1Client.of(root);
  const read = (name: string): Promise<unknown> => client.property("machine/m", "Machine", name);
  const { leader: first } = await root.recordWhen("m");

  const seen = new Set<string>();
  const ended = new AbortController();
  const watch = async (): Promise<void> => {
    while (!ended.signal.aborted) {
      const [leader, state] = [read("Leader"), read("State")].map((asked) =>
        asked.catch((error: Error) => error.message),
      );
      seen.add(`${await leader} ${await state}`);
      await sleep(1);
    }
  };
  const watching = watch();
  for (let round = 0; round < 3; round++) expect(await read("Leader")).toBe(first.pid);
  expect(await read("State")).toBe("running");
  expect(await read("Name")).toBe("m");
  expect(await read("Name")).toBe("m");

  await root.berth("exec", "m", "--", ...probe("reboot", "restart")); // ends with it, whichever way
  const { leader: second } = await root.recordWhen("m", (record) => record.leader.pid !== first.pid);
  for (let round = 0; round < 3; round++) expect(await read("Leader")).toBe(second.pid);

  await ok("terminate", "m");
  await ok("wait", "m", "stopped");
  for (let round = 0; round < 3; round++) await expect(read("Leader")).rejects.toThrow("Unknown object");

  await ok("start", "m");
  const { leader: third } = await root.recordWhen("m");
  for (let round = 0; round < 3; round++) expect(await read("Leader")).toBe(third.pid);
  await ok("terminate", "m");
  await ok("wait", "m", "stopped");
  ended.abort();
  await watching;
  const told = [...seen].join("\n");
  for (const { pid } of [first, second, third]) expect(told).toContain(`${pid} running`);
  expect(told).toContain("Unknown object");
});
