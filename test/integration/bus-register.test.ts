/** Machines of others, which systemd 259's programs tell of by properties and a pidfd. */
import { closeSync, fstatSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, expect, test } from "vitest";
import { type Variant, variant } from "../../src/bus/values.ts";
import { openNull } from "../../src/sys/files.ts";
import { pidfdOpen } from "../../src/sys/processes.ts";
import { berthRoot, buildBerth } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { MACHINE1_PATH, Machine1Client } from "../lib/machine1-client.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "tool:dbus-daemon", "no-systemd");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

type Properties = readonly (readonly [string, Variant])[];

const register = (client: Machine1Client, ...properties: Properties): Promise<readonly unknown[]> =>
  client.call("RegisterMachineEx", "sa(sv)", ["x", properties], "o");

test("RegisterMachineEx: a leader is known by its pidfd, or by its number and what the kernel calls it", async () => {
  await using root = berthRoot();
  await using client = await Machine1Client.of(root);
  await using leader = root.spawn(["sleep", "1000"]);
  await using other = root.spawn(["sleep", "1000"]);
  const [id, others] = [leader.pid, other.pid].map((pid) => {
    const pidfd = pidfdOpen(pid);
    const { ino } = fstatSync(pidfd, { bigint: true });
    closeSync(pidfd);
    return ino;
  });
  const pid = ["LeaderPID", variant("u", leader.pid)] as const;
  const refused = (what: string, ...properties: Properties): Promise<void> =>
    expect(register(client, ...properties)).rejects.toThrow(what);
  await refused("LeaderPID comes with LeaderPIDFDID", pid);
  await refused("LeaderPIDFDID comes with LeaderPID", ["LeaderPIDFDID", variant("t", id ?? 0n)]);
  await refused('Unknown property "Leader"', ["Leader", variant("u", 1)]);
  await refused('Unknown property "__proto__"', ["__proto__", variant("u", 1)]);
  await refused("Property Class is of type s", ["Class", variant("u", 1)]);
  await refused("LeaderPIDFD is no pidfd", ["LeaderPIDFD", variant("h", openNull())]);
  await refused("Invalid machine ID", ["Id", variant("ay", Buffer.alloc(3))]);
  // Before Linux 6.9 all pidfds have one inode.
  if (id !== others) await refused("is not the one that was meant", pid, ["LeaderPIDFDID", variant("t", others ?? 0n)]);
  expect(await client.machines()).toEqual([".host host "]);
  await register(client, pid, ["LeaderPIDFDID", variant("t", id ?? 0n)]);
  expect(await client.property("machine/x", "Machine", "Leader")).toBe(leader.pid);
  await refused("Machine 'x' already exists", ["LeaderPIDFD", variant("h", pidfdOpen(other.pid))]);
  await client.call("UnregisterMachine", "s", ["x"], "");
  // As systemd-nspawn does it, which is the caller and names no leader.
  await register(client, ["Service", variant("s", "nspawn")], ["Class", variant("s", "container")]);
  expect(await client.property("machine/x", "Machine", "Leader")).toBe(process.pid);
  await client.call("UnregisterMachine", "s", ["x"], "");
});

test("CreateMachineEx: a virtual machine has a class, an SSH address and links, until its leader ends", async () => {
  await using root = berthRoot();
  await using client = await Machine1Client.of(root);
  await using leader = root.spawn(["sleep", "1000"]);
  const properties: Properties = [
    ["Id", variant("ay", Buffer.alloc(16, 7))],
    ["Service", variant("s", "vmspawn")],
    ["Class", variant("s", "vm")],
    ["LeaderPIDFD", variant("h", pidfdOpen(leader.pid))],
    ["RootDirectory", variant("s", "/var")],
    ["NetworkInterfaces", variant("ai", [7])],
    ["VSockCID", variant("u", 77)],
    ["SSHAddress", variant("s", "vsock/77")],
    ["SSHPrivateKeyPath", variant("s", "/key")],
  ];
  expect(await client.call("CreateMachineEx", "sa(sv)a(sv)", ["x", properties, []], "o")).toEqual([
    `${MACHINE1_PATH}/machine/x`,
  ]);
  expect(await client.machines()).toContain("x vm vmspawn");
  expect(await client.call("GetMachineSSHInfo", "s", ["x"], "ss")).toEqual(["vsock/77", "/key"]);
  const shown: unknown[] = [];
  for (const name of ["Leader", "RootDirectory", "NetworkInterfaces", "VSockCID", "SSHAddress", "SSHPrivateKeyPath"])
    shown.push(await client.property("machine/x", "Machine", name));
  expect(shown).toEqual([leader.pid, "/var", [7], 77, "vsock/77", "/key"]);
  await expect(client.call("GetMachineSSHInfo", "s", [".host"], "ss")).rejects.toThrow("has no SSH address");
  process.kill(leader.pid, "SIGKILL");
  for (const deadline = performance.now() + 20_000; (await client.machines()).length > 1; await sleep(5))
    if (performance.now() > deadline) throw new Error("it is still there");
});
