/** What berth has on the bus, beside what the real systemd-machined and systemd-importd of two releases have there. */
import { execFileSync } from "node:child_process";
import { constants, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { Connection } from "../../src/bus/connection.ts";
import { berthRoot } from "../lib/berth.ts";
import { introspect } from "../lib/introspection.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { hostTree, PREPARING_MS, prepareRealDaemons, REAL_DAEMONS, realDaemons } from "../lib/real-daemons.ts";
import { needs } from "../lib/requires.ts";
import { trixieTree } from "../lib/trixie-machinectl.ts";

const ready = needs("root", "tool:busctl", "tool:mkfifo", ...REAL_DAEMONS);
checkLeaks();
beforeAll(() => prepareRealDaemons(ready), PREPARING_MS);

const [MACHINE1, IMPORT1] = ["org.freedesktop.machine1", "org.freedesktop.import1"] as const;
/** All that they have: what stands for things, and the nodes above these. */
const OBJECTS = [
  ...["/", "/org", "/org/freedesktop", "/org/freedesktop/LogControl1"].flatMap((path): [string, string][] => [
    [MACHINE1, path],
    [IMPORT1, path],
  ]),
  [MACHINE1, "/org/freedesktop/machine1"],
  [MACHINE1, "/org/freedesktop/machine1/machine"],
  [MACHINE1, "/org/freedesktop/machine1/machine/_2ehost"],
  [MACHINE1, "/org/freedesktop/machine1/image"],
  [MACHINE1, "/org/freedesktop/machine1/image/_2ehost"],
  [MACHINE1, "/org/freedesktop/machine1/image/web"],
  [IMPORT1, "/org/freedesktop/import1"],
  [IMPORT1, "/org/freedesktop/import1/transfer"],
  [IMPORT1, "/org/freedesktop/import1/transfer/_1"],
] as const;

type Difference = readonly [whose: "ours" | "theirs", line: RegExp, why: string];

/** Lines that one of both has more, and why. One that is not met is an error, too. */
const DIFFERENCES: readonly Difference[] = [
  ["ours", /^\w+ \/org node berth$/, "berthd has all its names on one connection, and so the same objects under each"],
  ["ours", /^machine1 \/org\/freedesktop node (import1|systemd1)$/, "the same"],
  ["ours", /^import1 \/org\/freedesktop node (machine1|systemd1)$/, "the same"],
  [
    "ours",
    /machine1\.Manager\.(Register|Create)MachineEx\(/,
    "of systemd 259, whose nspawn and vmspawn tell of machines so, by pidfd; older ones know none of it, and go on as before",
  ],
];

/** Ours is as 257 has it. */
const OF_252: readonly Difference[] = [
  ["ours", /\.(Manager\.GetMachine|Machine\.Get)SSHInfo\(/, "of 256"],
  ["ours", /\.Machine\.(VSockCID|SSHAddress|SSHPrivateKeyPath): /, "of 256"],
  ["ours", /import1\.Manager\.\w+Ex\(|import1\.Manager\.ListImages\(/, "of 256"],
  ["ours", /import1\.Transfer\.ProgressUpdate tells/, "of 256"],
  ["ours", /\.Kill(Machine)?\(.*s whom,/, "257 calls the argument so"],
  ["theirs", /\.Kill(Machine)?\(.*s who,/, "257 calls the argument whom"],
];

/** The lines of every object, each after its name and path, while a transfer goes on: it imports what nobody writes. */
async function linesOn(address: string, fifo: string): Promise<readonly string[]> {
  const connection = await Connection.open(address);
  const manager = { destination: IMPORT1, path: "/org/freedesktop/import1", interface: `${IMPORT1}.Manager` };
  try {
    // Open for writing too, and so without an end.
    const args = [openSync(fifo, constants.O_RDWR), "slow", false, false] as const;
    const [id, path] = await connection.call({ ...manager, member: "ImportTar", in: "hsbb", args, out: "uo" });
    expect([id, path]).toEqual([1, OBJECTS.at(-1)?.[1]]);
    const lines: string[] = [];
    for (const [name, path] of OBJECTS)
      lines.push(...(await introspect(address, name, path)).map((line) => `${name.split(".").at(-1)} ${path} ${line}`));
    await connection.call({ ...manager, member: "CancelTransfer", in: "u", args: [id], out: "" });
    return lines;
  } finally {
    connection.close();
    await connection.ended;
  }
}

describe.each([
  ["systemd 252", hostTree, [...DIFFERENCES, ...OF_252]],
  ["systemd 257", trixieTree, DIFFERENCES],
] as const)("beside %s", (_, treeOf, differences) => {
  test("every object has the same members and nodes, with signatures, names of arguments, access and annotations", async () => {
    await using root = berthRoot();
    mkdirSync(join(root.machines, "web/usr"), { recursive: true });
    const fifo = join(root.directory("files"), "fifo");
    execFileSync("mkfifo", [fifo]);
    expect(await root.berth("daemon", "start")).toMatchObject({ status: 0 });
    const ours = await linesOn(`unix:path=${root.bus}`, fifo);
    await using real = await realDaemons(await treeOf(), {}, ["web"]);
    const theirs = await linesOn(real.address, fifo);
    const unlike = [
      ...ours.filter((line) => !theirs.includes(line)).map((line) => ["ours", line] as const),
      ...theirs.filter((line) => !ours.includes(line)).map((line) => ["theirs", line] as const),
    ];
    const known = ([whose, line]: (typeof unlike)[number]): Difference | undefined =>
      differences.find(([side, lines]) => side === whose && lines.test(line));
    expect(unlike.filter((each) => known(each) === undefined)).toEqual([]);
    const met = new Set(unlike.map(known));
    expect(differences.filter((each) => !met.has(each))).toEqual([]);
    // Theirs was read, and whole.
    expect(theirs.filter((line) => !/ (Peer|Introspectable|Properties)\./.test(line)).length).toBeGreaterThan(130);
  });
});
