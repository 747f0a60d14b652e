/**
 * A command that enters a machine, and who is killed on its way in. A machine that is frozen between the look at it and the
 * clone holds the porter where it is: who is cloned into a frozen cgroup does not run, and dies all the same.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BerthError } from "../../src/errors.ts";
import type { Launch } from "../../src/exec/launch.ts";
import { processId } from "../../src/host/process-id.ts";
import { joinedStatus } from "../../src/machine/join.ts";
import { cgroupPath } from "../../src/plan/cgroup.ts";
import { buildJoin } from "../../src/plan/join.ts";
import { openNull } from "../../src/sys/files.ts";
import { becomeSubreaper } from "../../src/sys/processes.ts";
import { poll } from "../lib/berth.ts";
import { ended, launchOf, says, testMachine } from "../lib/launch.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
let directory = "";

beforeAll(() => {
  if (!ready) return;
  directory = mkdtempSync(join(tmpdir(), "entering-"));
  becomeSubreaper(); // as berthd is
});
afterAll(() => {
  if (!ready) return;
  becomeSubreaper(false);
  rmSync(directory, { recursive: true, force: true });
});
checkLeaks();

interface Entering {
  readonly command: Launch;
  readonly failure: Promise<BerthError>;
  members(): readonly number[];
  kill(): void;
  thaw(): void;
}

/** A machine, the porter of a command frozen in it, and at the end the machine alone, which ends when it is asked to. */
async function entering(act: (entering: Entering) => Promise<void>, survives = true): Promise<void> {
  const root = await probeTree({ at: mkdtempSync(join(directory, "tree-")) });
  const machine = testMachine({ directory, root, name: "entered", command: probe("init", "--term") });
  const launch = machine.launch();
  await launch.run();
  await says(machine, "up");
  const leader = processId(launch.leaderPid);
  const cgroup = join(cgroupPath(machine.input), "payload");
  const members = (): readonly number[] =>
    readFileSync(join(cgroup, "cgroup.procs"), "utf8").split("\n").filter(Boolean).map(Number);
  const write = (file: string, text: string): void => writeFileSync(join(cgroup, file), text);
  const request = { environment: [], directory: "/", user: null, stdio: "caller" } as const;
  const plan = buildJoin(
    { machine: "entered", pid: leader.pid, startTime: leader.startTime, cgroup, plan: machine.plan },
    { ...request, argv: probe("sleep", "100000"), candidates: ["/probe"] },
  );
  const command = launchOf(plan, { fds: new Map([0, 1, 2].map((fd) => [`stdio:${fd}`, openNull()])) });
  write("cgroup.freeze", "1");
  const failure = command.run().then(
    () => new BerthError("none"),
    (error: BerthError) => error,
  );
  await poll("the porter", () => members().length === 2 || undefined);
  await act({
    command,
    failure,
    members,
    kill: () => write("cgroup.kill", "1"),
    thaw: () => write("cgroup.freeze", "0"),
  });
  if (survives) {
    expect(members()).toEqual([leader.pid]);
    process.kill(leader.pid, "SIGTERM");
  }
  expect((await ended(machine, launch)).record).toMatchObject({ reason: survives ? "exited" : "killed" });
}

describe("a keeper that is killed while somebody is on the way in", () => {
  test("leaves no command, and nobody who holds up the machine's end", async () => {
    await entering(async ({ command, failure, thaw }) => {
      process.kill(command.keeperPid, "SIGKILL");
      thaw();
      expect((await failure).message).toContain("the keeper was killed by SIGKILL before init was executed");
    });
  });

  test("is not waited for by who has given up", async () => {
    await entering(async ({ command, failure, thaw }) => {
      process.kill(command.keeperPid, "SIGKILL");
      command.abort(new BerthError("enough"));
      expect((await failure).message).toBe("enough");
      thaw();
    });
  });
});

test("a command whose keeper is killed is killed, and holds up nothing", async () => {
  await entering(async ({ command, failure, thaw }) => {
    thaw();
    expect((await failure).message).toBe("none");
    process.kill(command.keeperPid, "SIGKILL");
    expect(await joinedStatus(command)).toBe(137);
    command.release();
  });
});

test("a porter that is killed from inside is said to have been killed", async () => {
  await entering(async ({ failure, kill }) => {
    kill();
    expect((await failure).message).toMatch(/clone init into the machine's .*: the other side ended/);
  }, false);
});

test("who gives up while the machine is frozen leaves nothing in it", async () => {
  await entering(async ({ command, failure, thaw }) => {
    command.abort(new BerthError("enough"));
    expect((await failure).message).toBe("enough");
    thaw();
  });
});
