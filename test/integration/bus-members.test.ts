/** The members of machines' and images' own objects, which machinectl(1) calls by the manager's methods or not at all. */
import { closeSync, existsSync, mkdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, expect, test } from "vitest";
import { berthRoot, buildBerth, poll } from "../lib/berth.ts";
import { checkLeaks, openFds } from "../lib/leaks.ts";
import { Machine1Client } from "../lib/machine1-client.ts";
import { needs } from "../lib/requires.ts";
import { shellMachine } from "../lib/shell-machine.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:dbus-daemon", "no-systemd");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const REPLACE = 1n;

test("a machine's object: what it is, files, binds, terminals, signals, its end", async () => {
  await using root = berthRoot();
  const tree = await shellMachine(root, "a.m");
  mkdirSync(join(tree, "etc"), { recursive: true });
  writeFileSync(join(tree, "etc/os-release"), "ID=test\nVERSION_ID=7\n");
  expect(await root.berth("start", "a.m")).toMatchObject({ status: 0 });
  await using client = await Machine1Client.of(root);
  const at = "machine/a_2em";
  const call = (member: string, form: string, args: readonly unknown[], out: string): Promise<readonly unknown[]> =>
    client.callAt(at, "Machine", member, form, args, out);
  const { leader, uidShift } = await root.recordWhen("a.m");
  expect(await client.property(at, "Machine", "Leader")).toBe(leader.pid);
  expect(await call("GetAddresses", "", [], "a(iay)")).toEqual([[]]);
  expect(await call("GetOSRelease", "", [], "a{ss}")).toEqual([{ ID: "test", VERSION_ID: "7" }]);
  expect(await call("GetUIDShift", "", [], "u")).toEqual([uidShift]);
  await expect(call("GetSSHInfo", "", [], "ss")).rejects.toThrow("has no SSH address");

  const outside = root.directory("outside");
  writeFileSync(join(outside, "file"), "one");
  const file = join(outside, "file");
  await call("CopyTo", "ss", [file, "/etc/copy"], "");
  writeFileSync(file, "two");
  await expect(call("CopyTo", "ss", [file, "/etc/copy"], "")).rejects.toThrow(/exists|already/);
  await call("CopyToWithFlags", "sst", [file, "/etc/copy", REPLACE], "");
  expect((await root.berth("exec", "a.m", "--", "cat", "/etc/copy")).stdout).toBe("two");
  await call("CopyFrom", "ss", ["/etc/copy", join(outside, "back")], "");
  expect(readFileSync(join(outside, "back"), "utf8")).toBe("two");
  await expect(call("CopyFrom", "ss", ["/etc/os-release", join(outside, "back")], "")).rejects.toThrow(
    /exists|already/,
  );
  await call("CopyFromWithFlags", "sst", ["/etc/os-release", join(outside, "back"), REPLACE], "");
  expect(readFileSync(join(outside, "back"), "utf8")).toContain("ID=test");
  await client.call("CopyToMachineWithFlags", "ssst", ["a.m", file, "/etc/copy", REPLACE], "");
  await client.call("CopyFromMachineWithFlags", "ssst", ["a.m", "/etc/copy", join(outside, "back"), REPLACE], "");
  expect(readFileSync(join(outside, "back"), "utf8")).toBe("two");
  await call("BindMount", "ssbb", [outside, "/mnt/outside", true, true], "");
  const bound = await root.berth("exec", "a.m", "--", "sh", "-c", "cat /mnt/outside/file; : >/mnt/outside/new");
  expect(bound).toMatchObject({ stdout: "two", stderr: expect.stringMatching(/read-only/i) });

  const fds: number[] = [];
  const pty = await call("OpenPTY", "", [], "hs");
  const shell = await call(
    "OpenShell",
    "ssasas",
    ["root", "/bin/sh", ["sh", "-c", "echo $A; sleep 1000"], ["A=b"]],
    "hs",
  );
  const directory = await call("OpenRootDirectory", "", [], "h");
  for (const [fd] of [pty, shell, directory]) fds.push(fd as number);
  try {
    for (const [, name] of [pty, shell]) expect(name).toMatch(/^\/dev\/pts\/\d+$/);
    for (const fd of fds.slice(0, 2)) expect(readlinkSync(`/proc/self/fd/${fd}`)).toMatch(/ptmx/);
    expect(readFileSync(`/proc/self/fd/${fds[2]}/etc/os-release`, "utf8")).toContain("ID=test");
    await expect(call("OpenShell", "ssasas", ["root", "/bin/sh", [], ["9=x"]], "hs")).rejects.toThrow("Invalid env");
  } finally {
    for (const fd of fds) closeSync(fd);
  }
  await expect(call("Kill", "si", ["nobody", 15], "")).rejects.toThrow("nobody");
  await call("Terminate", "", [], "");
  await poll("its end", () => (root.record("a.m") === null ? true : undefined));
  await expect(call("GetUIDShift", "", [], "u")).rejects.toThrow(/a\.m|Unknown object/);
});

test("an image's object: what is in it, marks, copies, names, its end", async () => {
  await using root = berthRoot();
  const tree = join(root.machines, "i-1");
  for (const place of ["etc", "usr"]) mkdirSync(join(tree, place), { recursive: true });
  const id = "0123456789abcdef0123456789abcdef";
  writeFileSync(join(tree, "etc/os-release"), "ID=test\n");
  writeFileSync(join(tree, "etc/hostname"), "inside\n");
  writeFileSync(join(tree, "etc/machine-id"), `${id}\n`);
  writeFileSync(join(tree, "etc/machine-info"), 'PRETTY_HOSTNAME="In side"\n');
  await using client = await Machine1Client.of(root);
  const at = "image/i_2d1";
  const call = (member: string, form: string, args: readonly unknown[], out: string): Promise<readonly unknown[]> =>
    client.callAt(at, "Image", member, form, args, out);
  expect(await client.call("GetImage", "s", ["i-1"], "o")).toEqual([`/org/freedesktop/machine1/${at}`]);
  for (const [member, out, wanted] of [
    ["Hostname", "s", "inside"],
    ["MachineID", "ay", Buffer.from(id, "hex")],
    ["MachineInfo", "a{ss}", { PRETTY_HOSTNAME: "In side" }],
    ["OSRelease", "a{ss}", { ID: "test" }],
  ] as const) {
    expect(await call(`Get${member}`, "", [], out)).toEqual([wanted]);
    expect(await client.call(`GetImage${member}`, "s", ["i-1"], out)).toEqual([wanted]);
  }
  await call("MarkReadOnly", "b", [true], "");
  expect(await client.property(at, "Image", "ReadOnly")).toBe(true);
  await client.call("MarkImageReadOnly", "sb", ["i-1", false], "");
  expect(await client.property(at, "Image", "ReadOnly")).toBe(false);
  await expect(call("SetLimit", "t", [1n << 30n], "")).rejects.toThrow(/can't be limited|no limit|limit/);
  await call("Clone", "sb", ["copy", true], "");
  expect(await client.property("image/copy", "Image", "ReadOnly")).toBe(true);
  await expect(call("Clone", "sb", ["copy", false], "")).rejects.toThrow(/exists|already/);
  await expect(call("Clone", "sb", ["../copy", false], "")).rejects.toThrow();
  await client.callAt("image/copy", "Image", "Rename", "s", ["other"], "");
  await client.callAt("image/other", "Image", "Remove", "", [], "");
  await call("Remove", "", [], "");
  await expect(client.call("GetImage", "s", ["i-1"], "o")).rejects.toThrow(/i-1/);
  expect(["i-1", "copy", "other"].filter((name) => existsSync(join(root.machines, name)))).toEqual([]);
});

test("machines of others, by each of the older calls, with and without links", async () => {
  await using root = berthRoot();
  await using client = await Machine1Client.of(root);
  await using leader = root.spawn(["sleep", "1000"]);
  const before = openFds(root.daemonPid() ?? 0);
  const told = ["x", Buffer.alloc(16, 1), "test", "container", leader.pid, "/"];
  for (const [member, form, args] of [
    ["RegisterMachine", "sayssus", told],
    ["RegisterMachineWithNetwork", "sayssusai", [...told, [3, 4]]],
    ["CreateMachine", "sayssusa(sv)", [...told, []]],
    ["CreateMachineWithNetwork", "sayssusaia(sv)", [...told, [3, 4], []]],
  ] as const) {
    expect(await client.call(member, form, args, "o")).toEqual(["/org/freedesktop/machine1/machine/x"]);
    const links = member.endsWith("WithNetwork") ? [3, 4] : [];
    expect(await client.property("machine/x", "Machine", "NetworkInterfaces")).toEqual(links);
    await client.call("UnregisterMachine", "s", ["x"], "");
    for (let round = 0; (await client.machines()).length > 1 && round < 100; round++) await sleep(5);
    expect(await client.machines()).toEqual([".host host "]);
  }
  const wrong = [...told, [0]];
  await expect(client.call("RegisterMachineWithNetwork", "sayssusai", wrong, "o")).rejects.toThrow("interface index");
  expect(openFds(root.daemonPid() ?? 0)).toEqual(before);
});
