/** `berth bind` and `berth unbind`: mounts that come and go while a machine runs. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { type BerthRoot, buildBerth } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { type LiveMachine, liveMachine, USERS } from "../lib/live-machine.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:perl");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

/** A directory of the host with a file in it that says so. */
function source(root: BerthRoot, name = "data"): string {
  const directory = root.directory(name);
  writeFileSync(join(directory, "file"), "of the host\n", { mode: 0o644 });
  return directory;
}

function succeeded({ status, stdout, stderr }: { status: number | null; stdout: string; stderr: string }): string {
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return stdout;
}

/** Of the machine's root file system only; what is bound is the host's. */
async function namesIn(live: LiveMachine, directory: string): Promise<string> {
  return succeeded(await live.inside(`cd ${directory} && echo $(ls -A)`)).trim();
}

describe.each(USERS)("%s", (_, users) => {
  test("a directory with what is mounted below it is seen, written to, and gone again after unbind", async () => {
    await using live = await liveMachine(users);
    const { root } = live;
    const data = source(root);
    execFileSync("chmod", ["777", data]);
    mkdirSync(join(data, "sub"));
    execFileSync("mount", ["-t", "tmpfs", "tmpfs", join(data, "sub")]);
    try {
      writeFileSync(join(data, "sub/deep"), "");
      const before = readFileSync("/proc/self/mountinfo", "utf8");
      succeeded(await live.berth("bind", "m", data, "/mnt"));
      expect(await namesIn(live, "/mnt")).toBe("file sub");
      expect(await namesIn(live, "/mnt/sub")).toBe("deep");
      succeeded(await live.inside("echo of the machine >/mnt/new; mount -t tmpfs tmpfs /mnt/sub"));
      expect(readFileSync(join(data, "new"), "utf8")).toBe("of the machine\n");
      expect(readFileSync("/proc/self/mountinfo", "utf8"), "nothing comes back to the host").toBe(before);
      succeeded(await live.berth("unbind", "m", "/mnt/"));
      expect(await namesIn(live, "/mnt")).toBe("");
      expect(readFileSync(join(data, "sub/deep"), "utf8"), "the host's own mount stays").toBe("");
    } finally {
      execFileSync("umount", [join(data, "sub")]);
    }
  });

  test("mkdir makes the way to it as root of the machine, for a file too; without it a missing target is an error", async () => {
    await using live = await liveMachine(users);
    const data = source(live.root);
    const missing = await live.berth("bind", "m", data, "/srv/a/b");
    expect(missing).toMatchObject({
      status: 1,
      stderr: 'berth: there is no "/srv/a/b" in machine m to mount on\nhint: --mkdir makes it\n',
    });
    expect(existsSync(join(live.tree, "srv"))).toBe(false);
    succeeded(await live.berth("bind", "m", data, "/srv/a/b", "--mkdir"));
    succeeded(await live.berth("bind", "m", join(data, "file"), "/srv/c/one", "--mkdir"));
    expect(succeeded(await live.inside("cat /srv/a/b/file /srv/c/one; stat -c '%u %g %a' /srv/a /srv/c"))).toBe(
      "of the host\nof the host\n0 0 755\n0 0 755\n",
    );
    for (const target of ["/srv/c/one", "/srv/a/b"]) succeeded(await live.berth("unbind", "m", target));
    expect(succeeded(await live.inside("cat /srv/c/one; ls /srv/a/b"))).toBe("");
  });

  test("the target may be left out, and is the source's path then", async () => {
    await using live = await liveMachine(users);
    const data = source(live.root);
    succeeded(await live.berth("bind", "m", data, "--mkdir"));
    expect(await namesIn(live, data)).toBe("file");
  });

  test("a link in the machine leads to a place in the machine, never on the host", async () => {
    await using live = await liveMachine(users);
    const data = source(live.root);
    const canary = live.root.directory("canary");
    succeeded(await live.inside(`ln -s ${canary} /away; ln -s ../../../../tmp /up; ln -s /proc/1/root/mnt /magic`));
    expect((await live.berth("bind", "m", data, "/away")).status).toBe(1);
    expect((await live.berth("bind", "m", data, "/magic")).status).toBe(1);
    succeeded(await live.berth("bind", "m", data, "/up"));
    expect(await namesIn(live, "/tmp")).toBe("file");
    expect(await namesIn(live, "/mnt")).toBe("");
    expect(execFileSync("ls", ["-A", canary], { encoding: "utf8" })).toBe("");
  });

  test("unbind takes away nothing but what bind has mounted, and only where it is", async () => {
    await using live = await liveMachine([...users, "--tmpfs=/srv"]);
    const data = source(live.root);
    mkdirSync(join(data, "below"));
    const nothing = await live.berth("unbind", "m", "/srv");
    expect(nothing).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/^berth: nothing is bound into machine m/),
    });
    succeeded(await live.berth("bind", "m", data, "/mnt"));
    for (const [target, why] of [
      ["/srv", 'berth: "/srv" is none that berth bind has bound'],
      ["/proc", 'berth: "/proc" is none that berth bind has bound'],
      ["/tmp", 'berth: "/tmp" is none that berth bind has bound'],
      ["/mnt/below", 'berth: "/mnt/below" lies below one that is bound'],
      ["/none", 'berth: there is no "/none" in machine m'],
    ] as const) {
      const end = await live.berth("unbind", "m", target);
      expect(end).toMatchObject({ status: 1, stdout: "", stderr: expect.stringContaining(why) });
    }
    succeeded(await live.inside("mount -t tmpfs tmpfs /mnt"));
    expect((await live.berth("unbind", "m", "/mnt")).stderr).toContain("is none that berth bind has bound");
    succeeded(await live.inside("umount /mnt"));
    succeeded(await live.berth("unbind", "m", "/mnt"));
    expect((await live.berth("unbind", "m", "/mnt")).status).toBe(1);
  });

  test("what is wrong is said before anything is done", async () => {
    await using live = await liveMachine(users);
    const data = source(live.root);
    for (const [words, status, why] of [
      [["/no/such/source", "/mnt"], 1, 'there is no "/no/such/source" on this host'],
      [[data, "mnt"], 1, '"mnt" is no absolute path of the machine'],
      [[data, "/../"], 1, "the machine's root can't be covered"],
      [[data, "/etc/os-release"], 1, "is no place for it: a directory is mounted on a directory"],
      [[join(data, "file"), "/mnt"], 1, "is no place for it"],
      [[data, "/etc/os-release/x", "--mkdir"], 1, "is no place for it"],
      [[data, "/proc/x", "--mkdir"], 1, ""],
    ] as const) {
      const end = await live.berth("bind", "m", ...words);
      expect(end).toMatchObject({ status, stdout: "", stderr: expect.stringMatching(/^berth: /) });
      expect(end.stderr).toContain(why);
    }
    expect(JSON.parse(readFileSync(join(live.root.path, "run/running/m/binds.json"), "utf8"))).toEqual([]);
    expect((await live.berth("bind", "n", data, "/mnt")).stderr).toBe(
      'berth: no machine "n" is running\nhint: did you mean m?\n',
    );
  });

  test.each([
    ["ephemeral", ["-x"]],
    ["volatile", ["--volatile=state"]],
    ["overlay", ["--overlay=+/mnt::/mnt"]],
  ] as const)("into a machine with changes elsewhere: %s", async (_, options) => {
    await using live = await liveMachine([...users, ...options]);
    succeeded(await live.berth("bind", "m", source(live.root), "/var/tmp/made", "--mkdir"));
    succeeded(await live.berth("bind", "m", source(live.root), "/mnt"));
    expect(succeeded(await live.inside("cat /var/tmp/made/file /mnt/file"))).toBe("of the host\nof the host\n");
    for (const target of ["/mnt", "/var/tmp/made"]) succeeded(await live.berth("unbind", "m", target));
    expect(await namesIn(live, "/var/tmp/made")).toBe("");
  });
});

test("read-only: root inside can't make it writable again, nor take away what is mounted below it", async () => {
  await using live = await liveMachine();
  const data = source(live.root);
  execFileSync("chmod", ["777", data]);
  mkdirSync(join(data, "sub"));
  execFileSync("mount", ["-t", "tmpfs", "tmpfs", join(data, "sub")]);
  try {
    succeeded(await live.berth("bind", "m", data, "/mnt", "--read-only"));
    const tries = [
      "echo x >/mnt/new",
      "echo x >/mnt/sub/new",
      "mount -o remount,bind,rw /mnt",
      "mount -o remount,bind,rw /mnt/sub",
      "umount /mnt/sub",
      "unshare -m mount -o remount,bind,rw /mnt",
    ];
    for (const attempt of tries) expect((await live.inside(attempt)).status, attempt).not.toBe(0);
    expect(existsSync(join(data, "new"))).toBe(false);
    expect(
      succeeded(await live.inside("umount -l /mnt && ls -A /mnt")),
      "its own mounts are the machine's to unmount",
    ).toBe("");
  } finally {
    execFileSync("umount", [join(data, "sub")]);
  }
});

test("read-only without a user namespace: it can't be written to", async () => {
  await using live = await liveMachine(["--private-users=no"]);
  succeeded(await live.berth("bind", "m", source(live.root), "/mnt", "--read-only"));
  expect((await live.inside("echo x >/mnt/new")).stderr).toContain("Read-only file system");
});

test("owners: whose a file is inside", async () => {
  await using live = await liveMachine();
  const data = source(live.root);
  execFileSync("chown", ["1000:1001", join(data, "file")]);
  for (const [kind, directory, file] of [
    ["noidmap", "65534 65534", "65534 65534"],
    ["idmap", "0 0", "1000 1001"],
    ["rootidmap", "0 0", "65534 65534"],
  ] as const) {
    succeeded(await live.berth("bind", "m", data, "/mnt", "--owners", kind));
    expect(succeeded(await live.inside("stat -c '%u %g' /mnt /mnt/file")), kind).toBe(`${directory}\n${file}\n`);
    succeeded(await live.berth("unbind", "m", "/mnt"));
  }
  const wrong = await live.berth("bind", "m", data, "/mnt", "--owners=root");
  expect(wrong).toMatchObject({ status: 2, stderr: expect.stringContaining("rootidmap") });
});

test("binds are many, on each other, and by several commands at a time; those of one boot are not those of the next", async () => {
  await using live = await liveMachine();
  const data = source(live.root);
  const targets = [1, 2, 3, 4].map((number) => `/srv/${number}`);
  const ends = await Promise.all(targets.map((target) => live.berth("bind", "m", data, target, "--mkdir")));
  for (const end of ends) succeeded(end);
  const list = (): unknown[] => JSON.parse(readFileSync(join(live.root.path, "run/running/m/binds.json"), "utf8"));
  expect(list()).toHaveLength(4);
  succeeded(await live.berth("bind", "m", source(live.root, "other"), "/srv/1"));
  succeeded(await live.berth("unbind", "m", "/srv/1"));
  succeeded(await live.berth("unbind", "m", "/srv/1"));
  expect(list()).toHaveLength(3);
  expect((await live.berth("unbind", "m", "/srv/1")).status).toBe(1);
});

test("a frozen machine is named, one that ends meanwhile too, and nothing stays", async () => {
  const live = await liveMachine();
  const data = source(live.root);
  const { cgroup, leader } = await live.root.recordWhen("m");
  writeFileSync(join(cgroup, "payload/cgroup.freeze"), "1");
  const frozen = await live.berth("bind", "m", data, "/mnt");
  expect(frozen).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/^berth: machine m is paused\nhint: berth resume m /),
  });
  writeFileSync(join(cgroup, "payload/cgroup.freeze"), "0");
  const binding = Promise.all([1, 2, 3].map(() => live.berth("bind", "m", data, "/mnt")));
  process.kill(leader.pid, "SIGKILL");
  for (const { status, stderr } of await binding) if (status !== 0) expect(stderr).toMatch(/^berth: .*(machine|m )/);
  await live[Symbol.asyncDispose]();
});

test("a target that is swapped with a link to / all the while: the host's mounts never change", async () => {
  await using live = await liveMachine();
  const data = source(live.root);
  const before = readFileSync("/proc/self/mountinfo", "utf8");
  symlinkSync("/", join(live.tree, "link"));
  await using swapping = live.root.start(
    ...["exec", "m", "--", "perl", "-e"],
    `my $renameat2 = ${process.arch === "arm64" ? 276 : 316};` +
      'mkdir "/dir"; mkdir "/dir/mnt"; my ($a, $b) = ("/dir", "/link"); while (1) { syscall($renameat2, -100, $a, -100, $b, 2) == 0 or die "$!" }',
  );
  await sleep(300);
  for (let round = 0; round < 15; round++) await live.berth("bind", "m", data, "/dir/mnt");
  expect([swapping.child.exitCode, swapping.stderr]).toEqual([null, ""]);
  expect(readFileSync("/proc/self/mountinfo", "utf8")).toBe(before);
});
