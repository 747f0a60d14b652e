/** What a machine's init says of itself, and whom berth believes. */
import { expect, test } from "vitest";
import { BERTH, berthRoot } from "../lib/berth.ts";
import { probe } from "../lib/probe.ts";
import { setUpProbe } from "../lib/set-up.ts";

const { tree } = setUpProbe();

/** Words of `berth run` for a machine called m. */
function run(options: readonly string[], command: readonly string[]): string[] {
  return ["run", "-D", tree, "-M", "m", "--console=read-only", ...options, "--", ...command];
}

test("with NotifyReady= a machine is ready when its PID 1 says so, not when it runs", async () => {
  await using root = berthRoot();
  root.settings("m", "[Exec]\nNotifyReady=yes");
  // Says so when a line is typed, as it were: the pipe is its stdin.
  const words = [
    "run",
    "-D",
    tree,
    "-M",
    "m",
    "--pipe",
    "--",
    ...probe("cwd", "--", "echo", "--", "init", "--ready", "--term"),
  ];
  await using child = root.spawn([BERTH, ...words], { stdin: "pipe" });
  await child.until(/cwd/);
  const before = await root.recordWhen("m");
  expect(before).toMatchObject({ ready: false, state: "starting", times: { ready: null } });
  child.child.stdin.end();
  const after = await root.recordWhen("m", ({ ready }) => ready);
  expect(after.state).toBe("running");
  expect(after.times.ready).toBeGreaterThanOrEqual(after.times.executed);
  child.kill();
  expect((await child.end).status).toBe(0);
});

test("without it a machine is ready as soon as it runs", async () => {
  await using root = berthRoot();
  await using child = root.start(...run([], probe("init", "--term")));
  const { ready, state, times } = await root.recordWhen("m");
  expect({ ready, state, same: times.ready === times.executed }).toEqual({ ready: true, state: "running", same: true });
  await child.until(/up/);
  child.kill();
  await child.end;
});

test("READY=1 of another process than PID 1 is not believed", async () => {
  await using root = berthRoot();
  await using child = root.start(...run(["--notify-ready=yes"], probe("init", "--term", "notify", "READY=1")));
  await child.until(/"verb":"notify","ok":true/);
  // By the time that a command has run inside, berth has long read what came before it.
  await root.berth("exec", "m", "--", ...probe("cwd"));
  expect(root.record("m")).toMatchObject({ ready: false, state: "starting" });
  child.kill();
  expect((await child.end).status).toBe(0);
});

test("STATUS= and STOPPING=1 show in the record, unknown fields and nonsense do not", async () => {
  await using root = berthRoot();
  const says = ["NONSENSE", "=", "READY=0\nFOO=bar\nSTATUS=first\nX-BERTH=1", "STATUS=warming up", "STOPPING=1"];
  const command = says.flatMap((text) => ["notify", text, "--"]);
  await using child = root.start(...run(["--notify-ready=yes"], probe(...command, "init", "--term")));
  const record = await root.recordWhen("m", ({ state }) => state === "stopping");
  expect(record).toMatchObject({ status: "warming up", ready: false });
  expect(record).not.toHaveProperty("FOO");
  await child.until(/up/);
  child.kill();
  expect((await child.end).status).toBe(0);
});

test("a flood of messages, long ones too, neither blocks the machine nor grows the record", async () => {
  await using root = berthRoot();
  const flood = Array.from({ length: 40 }, (_, i) => ["notify", `STATUS=${i} ${"x".repeat(3000)}`, "--"]).flat();
  await using child = root.start(...run([], probe(...flood, "init", "--term")));
  await child.until(/^up/m);
  const record = await root.recordWhen("m", ({ status }) => status?.startsWith("39 ") === true);
  expect(record.status?.length).toBeLessThanOrEqual(512);
  child.kill();
  expect((await child.end).status).toBe(0);
});
