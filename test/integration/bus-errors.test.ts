/** What wrong calls are answered with on the bus, beside what the real systemd-machined and systemd-importd say to them. */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type BerthRoot, berthRoot } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { hostTree, PREPARING_MS, prepareRealDaemons, REAL_DAEMONS, realDaemons } from "../lib/real-daemons.ts";
import { needs } from "../lib/requires.ts";
import { shellMachine } from "../lib/shell-machine.ts";
import { trixieTree } from "../lib/trixie-machinectl.ts";
import { answersTo, type WrongCall, wrongCalls } from "../lib/wrong-calls.ts";

const ready = needs("root", "userns", "cgroup2", "cc", ...REAL_DAEMONS);
checkLeaks();
beforeAll(() => prepareRealDaemons(ready), PREPARING_MS);

type Difference = readonly [calls: RegExp, ours: string, theirs: string, why: string];

/** Calls that ours answers in another way, and why. */
const DIFFERENCES: readonly Difference[] = [
  [
    /^RenameImage\(.*"\.host"\)|^CloneImage\(.*"\.host", \w+\)/,
    "InvalidArgs",
    "System.Error.EBUSY",
    "no image can have that name, busy or not",
  ],
  [
    /^UnregisterMachine\("\.host"\)/,
    "NotSupported",
    "ok",
    "theirs takes it; here the host is known as long as it is up",
  ],
  [
    /^Set\w+Limit\(.*9007199254740993\)/,
    "InvalidArgs",
    "NotSupported",
    "refused before anybody looks whether there can be a limit",
  ],
  [
    /^OpenMachineShell\("m", "", "", \["x"\]/,
    "InvalidArgs",
    "FileNotFound",
    "theirs asks for the machine's bus first, which ours needs none of",
  ],
  [/^import1\.\w+\(.*"zip"\)/, "InvalidArgs", "ok", "theirs begins a transfer, which fails"],
  [/^import1\.Pull\w+\("file:/, "InvalidArgs", "ok", "a file is imported, and not pulled"],
  [/^import1\.Pull\w+\("[^"]+", ""/, "InvalidArgs", "ok", "a download that becomes no image is of no use here"],
];

/** What 257 takes, and neither ours nor 252. */
const OF_257: readonly Difference[] = [
  [/^import1\.\w+\(.*"\.host"/, "InvalidArgs", "ok", "no image can have that name: theirs fails later"],
  [/^import1\.\w+Ex\(.*"portable"/, "NotSupported", "ok", "berth has images of machines only"],
];

/** In what systemd 252 differs from 257, which is what berth follows. */
const OF_252: readonly Difference[] = [
  [/^BindMountMachine\("m", .*nonexistent/, "FileNotFound", "NotSupported", "it can't bind on this kernel"],
  [
    /^CreateMachine\("x", 0 bytes, "test", "container", \d+/,
    "UnixProcessIdUnknown",
    "ServiceUnknown",
    "it asks systemd first",
  ],
  [/^GetMachineSSHInfo\("m"/, "FileNotFound", "UnknownMethod", "newer"],
  [/^GetMachineSSHInfo/, "machine1.NoSuchMachine", "UnknownMethod", "newer"],
  [/^import1\.\w+Ex\(.*"portable"/, "NotSupported", "UnknownMethod", "newer"],
  [/^import1\.(\w+Ex|ListImages)\(/, "InvalidArgs", "UnknownMethod", "newer"],
];

async function started(root: BerthRoot): Promise<number> {
  // Real machined binds nothing into machines with users of their own.
  await shellMachine(root, "m", undefined, "[Exec]\nPrivateUsers=no");
  mkdirSync(join(root.machines, "web/usr"), { recursive: true });
  expect(await root.berth("daemon", "start")).toMatchObject({ status: 0 });
  expect(await root.berth("start", "m")).toMatchObject({ status: 0 });
  return (await root.recordWhen("m")).leader.pid;
}

describe.each([
  ["systemd 252", hostTree, [...DIFFERENCES, ...OF_252]],
  ["systemd 257", trixieTree, [...DIFFERENCES, ...OF_257]],
] as const)("beside %s", (_, treeOf, differences) => {
  test("errors have the same names", async () => {
    await using root = berthRoot();
    const leader = await started(root);
    const there = join(root.directory("files"), "file");
    writeFileSync(there, "");
    const calls = wrongCalls(spawnSync("true").pid, there);
    const ours = await answersTo(`unix:path=${root.bus}`, calls, there);
    await using real = await realDaemons(await treeOf(), { m: leader }, ["web", "m"]);
    const theirs = await answersTo(real.address, calls, there);
    expect(await root.berth("terminate", "m")).toMatchObject({ status: 0 });
    const met = new Set<Difference>();
    const unlike: string[] = [];
    for (const [call, answer] of ours) {
      const their = theirs.get(call) ?? "";
      if (answer === their) continue;
      const known = differences.find(([calls, our, other]) => calls.test(call) && our === answer && other === their);
      if (known === undefined) unlike.push(`${call}: ${answer}, and theirs ${their}`);
      else met.add(known);
    }
    expect(unlike).toEqual([]);
    expect(differences.filter((each) => !met.has(each))).toEqual([]);
    expect(ours.size).toBeGreaterThan(290);
  });
});

/** Of org.berth.Manager1, and the subset of org.freedesktop.systemd1. */
const OWN: readonly (readonly [
  service: "berth" | "systemd1",
  member: string,
  types: string,
  args: readonly unknown[],
  name: string,
])[] = [
  ...["GetMachine", "Why", "Plan", "Check", "Reboot", "Pause", "Resume"].flatMap((member): (typeof OWN)[number][] => [
    ["berth", member, "s", ["nobody"], "machine1.NoSuchMachine"],
    ["berth", member, "s", ["../etc"], "InvalidArgs"],
  ]),
  ["berth", "Start", "st", ["nobody", 0n], "machine1.NoSuchMachine"],
  ["berth", "Start", "st", ["a/b", 0n], "InvalidArgs"],
  ["berth", "Start", "st", ["m", 0n], "machine1.MachineExists"],
  ["berth", "PowerOff", "sbt", ["nobody", false, 0n], "machine1.NoSuchMachine"],
  ["berth", "GetConsole", "su", ["nobody", 1], "machine1.NoSuchMachine"],
  ["berth", "GetConsole", "su", ["", 1], "InvalidArgs"],
  ["berth", "Wait", "ss", ["..", "stopped"], "InvalidArgs"],
  ["berth", "Wait", "ss", ["m", "asleep"], "InvalidArgs"],
  ["berth", "SetProperties", "sas", ["m", ["Foo=1"]], "InvalidArgs"],
  ["berth", "SetProperties", "sas", ["m", ["Foo"]], "InvalidArgs"],
  ["berth", "SetProperties", "sas", ["m", ["TasksMax=x"]], "InvalidArgs"],
  ["berth", "SetProperties", "sas", ["nobody", ["TasksMax=9"]], "machine1.NoSuchMachine"],
  ["berth", "Snapshot", "sss", ["nobody", "", ""], "machine1.NoSuchImage"],
  ["berth", "Snapshot", "sss", ["web", "../x", ""], "InvalidArgs"],
  ["berth", "ListSnapshots", "s", ["a/b"], "InvalidArgs"],
  ["berth", "RemoveSnapshot", "ss", ["web", "none"], "machine1.NoSuchImage"],
  ["berth", "Rollback", "ssb", ["web", "none", false], "machine1.NoSuchImage"],
  ["berth", "StartEphemeral", "st", ["nobody", 0n], "machine1.NoSuchMachine"],
  ["berth", "ExecSignal", "ui", [4711, 9], "InvalidArgs"],
  ["systemd1", "GetUnit", "s", ["systemd-nspawn@nobody.service"], "systemd1.NoSuchUnit"],
  ["systemd1", "StopUnit", "ss", ["systemd-nspawn@nobody.service", "fail"], "systemd1.NoSuchUnit"],
  ["systemd1", "StopUnit", "ss", ["systemd-nspawn@..service", "fail"], "systemd1.NoSuchUnit"],
  ["systemd1", "StopUnit", "ss", ["cron.service", "fail"], "systemd1.NoSuchUnit"],
  ["systemd1", "StopUnit", "ss", ["systemd-nspawn@web.service", "fail"], "ok"],
  ["systemd1", "GetUnitByPID", "u", [1], "systemd1.NoUnitForPID"],
];

test("what only berth has is refused by the same names", async () => {
  await using root = berthRoot();
  await started(root);
  const calls = OWN.map(([service, member, types, args]): WrongCall => [`${service}.${member}`, types, ...args]);
  const answers = await answersTo(`unix:path=${root.bus}`, calls, root.path);
  expect(await root.berth("terminate", "m")).toMatchObject({ status: 0 });
  const wrong = [...answers].filter(([, answer], index) => answer !== OWN[index]?.[4]);
  expect({ wrong, count: answers.size }).toEqual({ wrong: [], count: OWN.length });
});
