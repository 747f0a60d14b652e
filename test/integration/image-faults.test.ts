/** A machine of a disk image, whichever step of its start fails, and whenever berth is killed: no mount and no loop device is left. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import type { OptionAssignment } from "../../src/config/setting.ts";
import { Launch, LaunchError } from "../../src/exec/launch.ts";
import { loadFilter } from "../../src/exec/seccomp-filter.ts";
import { INSTALLATION, stagePath } from "../../src/host/installation.ts";
import { findPaths } from "../../src/host/paths.ts";
import { prepare } from "../../src/machine/prepare.ts";
import { describe as describeStep } from "../../src/plan/describe.ts";
import { ARCH } from "../../src/sys/libc.ts";
import { BERTH, type BerthRoot, berthRoot, buildBerth, poll } from "../lib/berth.ts";
import { DISK_TOOLS, makeDisk } from "../lib/disk-images.ts";
import { typedOption } from "../lib/launch.ts";
import { checkLeaks, leaksSince, snapshot } from "../lib/leaks.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";
import { settled } from "../lib/settled.ts";

const ready = needs("root", "userns", "cgroup2", "cc", ...DISK_TOOLS);
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const MIB = 1 << 20;
const EIO = 5;
/** Some hundred launches. */
const PATIENCE_MS = 240_000;

async function disk(root: BerthRoot, init = false): Promise<string> {
  const image = join(root.machines, "web.raw");
  const from = await probeTree({ init });
  makeDisk(image, {
    parts: [
      { type: "root", size: 16 * MIB, fs: "ext4", from },
      { type: "home", size: 8 * MIB, fs: "ext4", from: root.directory("homes") },
    ],
  });
  return image;
}

const KINDS: readonly (readonly [string, readonly string[]])[] = [
  ["that may change it", []],
  ["that is thrown away", ["--ephemeral"]],
];

describe.each(KINDS)("a machine %s", (_, words) => {
  test("leaves nothing, whichever of its steps fails", { timeout: PATIENCE_MS }, async () => {
    await using root = berthRoot();
    const image = await disk(root);
    const paths = findPaths(root.env, INSTALLATION, root.path);
    const options: readonly OptionAssignment[] = words.map(typedOption);
    const request = { name: "web", directory: undefined, image, options, command: probe("sleep", "100000") };
    const prepared = prepare({ ...request, boot: false, console: undefined }, paths, INSTALLATION);
    const plan = async () => (await prepared.plan({ foreground: true, stdio: "console", term: null })).plan;
    const launch = async (step: number): Promise<unknown> =>
      new Launch(await plan(), {
        ...{ stage: stagePath(ARCH), arch: ARCH },
        loadFilter: (policy) => loadFilter(policy, paths.cache),
        fail: { step, result: -EIO },
      })
        .run()
        .catch((error: unknown) => error);
    const { steps } = await plan();
    expect(steps.filter(({ kind }) => kind === "mount-part")).toHaveLength(2);
    const last = steps.findLastIndex((step) => step.phase === "host" && step.kind === "signal");
    await launch(steps.findIndex(({ kind }) => kind === "unshare-mounts"));
    const before = snapshot({ directories: [root.machines] });
    const problems: string[] = [];
    for (const [index, step] of steps.entries()) {
      if (step.phase === "host" && index > last) continue; // the machine may run by then
      // The other has all of the stage's steps, and more.
      if (words.length === 0 && step.phase !== "host") continue;
      const error = await launch(index);
      if (!(error instanceof LaunchError) || error.index !== index) problems.push(`#${index} ${String(error)}`);
      const left = await settled(() => ours(leaksSince(before)));
      if (left.length > 0) problems.push(`#${index} ${describeStep(step)}: ${left.join("; ")}`);
    }
    expect(problems).toEqual([]);
  });
});

/** Others work here as well. */
function ours(lines: string[]): string[] {
  return lines.filter((line) => /: (mount|loop device|fd|file) /.test(line));
}

function loops(image: string): number {
  return readFileSync("/proc/self/mountinfo", "utf8").includes(image) ? -1 : backing(image).length;
}

function backing(image: string): string[] {
  return (
    snapshot()
      .lines.get("loop device")
      ?.filter((line) => line.endsWith(image)) ?? []
  );
}

test("berth killed at any moment of a start leaves no loop device, and the next one starts", async () => {
  await using root = berthRoot();
  const image = await disk(root);
  for (const ms of [60, 120, 160, 200, 240, 300, 400]) {
    await using run = root.spawn([BERTH, "run", "-q", "-i", image, "-M", "web", "--", ...probe("sleep", "100000")]);
    await sleep(ms);
    run.kill("SIGKILL");
    await run.end;
    await poll("the end of its devices", () => (loops(image) === 0 ? true : undefined));
  }
  const { status, stderr } = await root.spawn([BERTH, "run", "-q", "-i", image, "-M", "web", "--", ...probe("cwd")])
    .end;
  expect(status, stderr).toBe(0);
});

test("a machine outlives a daemon that is killed, and its devices end with it", async () => {
  await using root = berthRoot();
  const image = await disk(root, true);
  root.settings("web", "[Exec]\nKillSignal=SIGRTMIN+3");
  const ok = async (...words: readonly string[]): Promise<void> => {
    const { status, stderr } = await root.berth(...words);
    expect(status, stderr).toBe(0);
  };
  await ok("start", "web");
  const pid = root.daemonPid();
  if (pid !== undefined) process.kill(pid, "SIGKILL");
  await poll("its end", () => (root.daemonPid() === undefined ? true : undefined));
  expect(backing(image)).toHaveLength(2);
  await ok("exec", "web", "--", ...probe("cwd"));
  await ok("poweroff", "web");
  await ok("wait", "web", "stopped");
  await poll("the end of its devices", () => (backing(image).length === 0 ? true : undefined));
});
