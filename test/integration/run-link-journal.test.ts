/** LinkJournal=, on a /var/log of the test's own. */
import {
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { BERTH, type BerthRoot, berthRoot, buildBerth, type End } from "../lib/berth.ts";
import { interview } from "../lib/interview.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:unshare");
checkLeaks();

beforeAll(() => {
  if (ready) buildBerth();
});

const ID = "aaaaaaaabbbb4ccc8ddddddddddddddd";
const PLACE = `/var/log/journal/${ID}`;

/** A host that keeps journals, and a tree with an id. */
async function setUp(root: BerthRoot): Promise<{ tree: string; log: string; journal: string }> {
  const tree = await probeTree({ at: join(root.machines, "own") });
  writeFileSync(join(tree, "etc/machine-id"), `${ID}\n`);
  const log = root.directory("log");
  mkdirSync(join(log, "journal"));
  return { tree, log, journal: join(log, "journal", ID) };
}

/** With `log` as the host's /var/log, which nobody else sees. */
function onLog(log: string, command: readonly string[]): readonly string[] {
  const over = 'mount --bind "$0" /var/log && exec "$@"';
  return ["unshare", "--mount", "--propagation", "private", "sh", "-c", over, log, ...command];
}

function run(
  root: BerthRoot,
  log: string,
  tree: string,
  options: readonly string[],
  words: readonly string[],
): Promise<End> {
  return root.spawn(onLog(log, [BERTH, "run", "-D", tree, "--pipe", ...options, "--", ...words])).end;
}

const USERS = [
  ["in a user namespace", []],
  ["with PrivateUsers=no", ["--private-users=no"]],
] as const;

describe.each(USERS)("%s", (_, users) => {
  test("LinkJournal=host, --link-journal: the host's directory is the machine's, and auto finds it again if it is no other's", async () => {
    await using root = berthRoot();
    const { tree, log, journal } = await setUp(root);
    root.settings("own", "[Exec]\nLinkJournal=host");
    const talk = interview({ write: ["write", `${PLACE}/one`, "1"], stat: ["stat", PLACE], mounts: ["mounts"] });
    const first = await run(root, log, tree, users, talk.command);
    const answers = talk.answers(first.stdout);
    expect(answers.line("write")["ok"]).toBe(true);
    expect(answers.line("stat")).toMatchObject({ uid: 0, gid: 0, mode: 0o755 });
    expect(answers.text("mounts")).toMatch(new RegExp(`${PLACE} rw,nosuid,nodev,noexec`));
    expect(first.stderr).toContain("it may fill its directory in /var/log/journal of the host");
    expect(readFileSync(join(journal, "one"), "utf8")).toBe("1");
    const owner = lstatSync(journal).uid;
    expect(users.length === 0 ? owner >= 524288 : owner === 0).toBe(true);
    expect(lstatSync(join(tree, "var/log")).isDirectory()).toBe(true);
    expect(readdirSync(join(tree, "var/log"))).toEqual([]);

    root.settings("own", "[Exec]\nLinkJournal=auto");
    const again = await run(root, log, tree, users, probe("ls", PLACE));
    expect(again.stdout).toContain(users.length === 0 ? '"names":["one"]' : "ENOENT");
  });

  test("LinkJournal=guest, -j: the host has a link to the tree's directory", async () => {
    await using root = berthRoot();
    const { tree, log, journal } = await setUp(root);
    const { stdout } = await run(root, log, tree, [...users, "-j"], probe("write", `${PLACE}/one`, "1"));
    expect(stdout).toContain('"ok":true');
    expect(readlinkSync(journal)).toBe(`${tree}${PLACE}`);
    expect(readFileSync(join(journal, "one"), "utf8")).toBe("1");
    expect(lstatSync(`${tree}${PLACE}`)).toMatchObject({ uid: 0, gid: 0 });
    const again = await run(root, log, tree, [...users, "--link-journal=guest"], probe("ls", PLACE));
    expect(again.stdout).toContain('"names":["one"]');
  });
});

test("LinkJournal=auto, no: nothing is linked where the host has nothing of the machine's", async () => {
  await using root = berthRoot();
  const { tree, log, journal } = await setUp(root);
  for (const options of [[], ["--link-journal=no"]]) {
    const { stdout } = await run(root, log, tree, options, probe("stat", PLACE));
    expect(stdout).toContain("ENOENT");
  }
  expect(readdirSync(join(log, "journal"))).toEqual([]);
  mkdirSync(journal);
  chownSync(journal, 1000, 1000);
  const { stdout } = await run(root, log, tree, [], probe("stat", PLACE));
  expect(stdout).toContain("ENOENT");
  expect(readdirSync(join(tree, "var/log"))).toEqual([]);
});

/** A copy of the tree `own`, and so with its id, that runs until it is told to end. */
async function upWithCopy(root: BerthRoot, log: string, ...options: readonly string[]) {
  const other = await probeTree({ at: join(root.machines, "other") });
  writeFileSync(join(other, "etc/machine-id"), `${ID}\n`);
  const command = ["--console=read-only", ...options, "--", ...probe("init", "--term")];
  const child = root.spawn(onLog(log, [BERTH, "run", "-D", other, ...command]));
  await child.until(/^up/m);
  return child;
}

describe.each([
  ["ids of their own", [], []],
  ["the host's ids", ["--private-users=no"], ["--private-users=no"]],
  ["ids of its own, and the other the host's", [], ["--private-users=no"]],
  ["the host's ids, and the other of its own", ["--private-users=no"], []],
])("of machines with %s", (_, first, second) => {
  test("LinkJournal=: the journal of one that runs is not a copy's", async () => {
    await using root = berthRoot();
    const { tree, log, journal } = await setUp(root);
    await using running = await upWithCopy(root, log, "--link-journal=host", ...first);
    const before = lstatSync(journal);
    for (const mode of ["host", "guest"]) {
      const refused = await run(root, log, tree, [...second, `--link-journal=${mode}`], probe("cwd"));
      expect([refused.status, refused.stdout]).toEqual([125, ""]);
      expect(refused.stderr).toContain(`LinkJournal=${mode}: ${PLACE} is in use by another machine`);
      expect(refused.stderr).toMatch(/^hint: a copy of a tree needs an id of its own: empty its etc\/machine-id/m);
    }
    for (const mode of ["try-host", "try-guest", "auto"]) {
      const left = await run(root, log, tree, [...second, `--link-journal=${mode}`], probe("stat", PLACE));
      expect(left.stdout, mode).toContain("ENOENT");
    }
    const after = lstatSync(journal);
    expect([after.uid, after.gid, after.ino]).toEqual([before.uid, before.gid, before.ino]);
    const plan = await root.spawn(
      onLog(log, [
        BERTH,
        "plan",
        "-D",
        join(root.machines, "other"),
        ...first,
        "--link-journal=host",
        "--",
        ...probe("cwd"),
      ]),
    ).end;
    expect(plan.stdout, plan.stderr).toContain(`lock ${PLACE} as this machine's journal alone`);
    running.kill();
    expect((await running.end).status).toBe(0);

    // Nobody has it any more, but it is the other's still, unless that had the host's ids.
    const again = await run(root, log, tree, [...second, "--link-journal=host"], probe("stat", PLACE));
    if (first.length > 0) expect(again.stdout).toContain('"uid":0');
    else expect(again.stderr).toContain(`${PLACE} belongs to id ${before.uid}, another machine's root`);
    if (first.length === 0) expect(lstatSync(journal).uid).toBe(before.uid);
    expect(readdirSync("/run/systemd/nspawn/locks").filter((name) => name.includes(ID))).toEqual([]);
  });
});

test("LinkJournal=: a machine that has got the host's root as its own, or ids of its own again, keeps its journal", async () => {
  await using root = berthRoot();
  const { tree, log, journal } = await setUp(root);
  const host = ["--link-journal=host"];
  await run(root, log, tree, [...host, "--private-users=no"], probe("cwd"));
  expect(lstatSync(journal).uid).toBe(0);
  expect((await run(root, log, tree, host, probe("write", `${PLACE}/one`, "1"))).stdout).toContain('"ok":true');
  expect(lstatSync(journal).uid).toBeGreaterThanOrEqual(524288);
  const back = await run(root, log, tree, [...host, "--private-users=no"], probe("cwd"));
  expect(back.status).toBe(125);
  expect(back.stderr).toContain(`if that journal is this machine's: chown 0:0 ${PLACE}`);
  chownSync(journal, 0, 0);
  expect((await run(root, log, tree, [...host, "--private-users=no"], probe("cwd"))).status).toBe(0);
});

const REFUSED: readonly (readonly [string, string, (place: { tree: string; log: string; journal: string }) => void])[] =
  [
    [
      "the host's own id",
      "the host's own machine id",
      ({ tree }) => writeFileSync(join(tree, "etc/machine-id"), readFileSync("/etc/machine-id")),
    ],
    ["no id", "has no id that it keeps", ({ tree }) => writeFileSync(join(tree, "etc/machine-id"), "")],
    ["a file in the place", "neither a directory nor a link", ({ journal }) => writeFileSync(journal, "")],
  ];

test.each(REFUSED)("with %s a strict mode is an error, and a try mode nothing", async (_, what, spoil) => {
  await using root = berthRoot();
  const place = await setUp(root);
  const { tree, log } = place;
  spoil(place);
  const before = readdirSync(join(log, "journal"));
  for (const mode of ["host", "guest"]) {
    const strict = await run(root, log, tree, [`--link-journal=${mode}`], probe("cwd"));
    expect([strict.status, strict.stdout]).toEqual([125, ""]);
    expect(strict.stderr).toContain(`LinkJournal=${mode}: `);
    expect(strict.stderr).toContain(what);
    const tried = await run(root, log, tree, [`--link-journal=try-${mode}`], probe("cwd"));
    expect(tried.status).toBe(0);
  }
  expect(readdirSync(join(log, "journal"))).toEqual(before);
});

test("a host that keeps no journal, and an ephemeral machine", async () => {
  await using root = berthRoot();
  const { tree } = await setUp(root);
  const bare = root.directory("bare");
  const strict = await run(root, bare, tree, ["--link-journal=host"], probe("cwd"));
  expect(strict.stderr).toContain("the host keeps no journals on disk");
  expect((await run(root, bare, tree, ["--link-journal=try-host"], probe("cwd"))).status).toBe(0);
  const ephemeral = await run(root, bare, tree, ["-x", "--link-journal=guest"], probe("cwd"));
  expect([ephemeral.status, ephemeral.stderr.includes("an ephemeral machine keeps no journal")]).toEqual([2, true]);
  expect((await run(root, bare, tree, ["-x", "-j"], probe("cwd"))).status).toBe(0);
  expect(readdirSync(bare)).toEqual([]);
});

test("links of the tree lead neither the machine's journal nor the host out of it", async () => {
  await using root = berthRoot();
  const { tree, log, journal } = await setUp(root);
  const outside = root.directory("outside", 0o777);
  symlinkSync(outside, join(tree, "var/log/journal"));
  for (const mode of ["guest", "try-guest", "host", "try-host"]) {
    const end = await run(root, log, tree, [`--link-journal=${mode}`], probe("stat", `${PLACE}/x`));
    // Strict ones are errors.
    expect(end.stdout !== "", mode).toBe(mode.startsWith("try-"));
    expect(readdirSync(outside), mode).toEqual([]);
  }
  const { stderr } = await run(root, log, tree, ["--link-journal=guest"], probe("cwd"));
  expect(stderr).toContain("of the tree is reached by a link");
  expect(lstatSync(journal, { throwIfNoEntry: false })?.isSymbolicLink() ?? false).toBe(false);
});

test("a start that fails later leaves what was in the journal's place", async () => {
  await using root = berthRoot();
  const { tree, log, journal } = await setUp(root);
  const fails = ["--inaccessible=/nowhere"];
  for (const mode of ["host", "guest"]) {
    expect((await run(root, log, tree, [`--link-journal=${mode}`, ...fails], probe("cwd"))).status).toBe(125);
    expect(readdirSync(join(log, "journal")), mode).toEqual([]);
  }
  symlinkSync("/somewhere/else", journal);
  for (const mode of ["host", "guest"]) {
    await run(root, log, tree, [`--link-journal=${mode}`, ...fails], probe("cwd"));
    expect(readlinkSync(journal), mode).toBe("/somewhere/else");
  }
});
