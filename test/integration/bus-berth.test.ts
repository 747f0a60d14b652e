import { closeSync, openSync, readFileSync, readSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { Connection } from "../../src/bus/connection.ts";
import { openNull } from "../../src/sys/files.ts";
import { readHead } from "../../src/sys/read-head.ts";
import { pipe } from "../../src/sys/sockets.ts";
import { type BerthRoot, berthRoot, buildBerth, isRunning, poll } from "../lib/berth.ts";
import { checkLeaks, openFds } from "../lib/leaks.ts";
import { machinectlOn } from "../lib/machinectl.ts";
import { probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:dbus-daemon", "tool:machinectl", "no-systemd");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

interface Client extends AsyncDisposable {
  readonly connection: Connection;
  /** The values of what it answers. */
  call(member: string, signature: string, args: readonly unknown[], out: string): Promise<readonly unknown[]>;
}

const [NAME, PATH] = ["org.berth.Manager1", "/org/berth/Manager1"];

async function clientOf(root: BerthRoot): Promise<Client> {
  expect((await root.berth("daemon", "status")).status).toBe(0);
  const connection = await Connection.open(`unix:path=${root.bus}`);
  return {
    connection,
    call: (member, signature, args, out) =>
      connection.call({ destination: NAME, path: PATH, interface: NAME, member, in: signature, args, out }),
    async [Symbol.asyncDispose]() {
      connection.close();
      await connection.ended;
    },
  };
}

/** With the host's programs. */
async function makeMachine(root: BerthRoot): Promise<void> {
  const tree = await probeTree({ at: join(root.machines, "m"), init: true });
  for (const link of ["bin", "lib", "lib64"]) symlinkSync(`usr/${link}`, join(tree, link));
  root.settings("m", "[Exec]\nKillSignal=SIGRTMIN+3\n[Files]\nBindReadOnly=/usr");
  expect((await root.berth("daemon", "start")).status).toBe(0);
}

test("machines are planned, checked, started, paused, told of, waited for, and powered off", async () => {
  await using root = berthRoot();
  await makeMachine(root);
  await using client = await clientOf(root);
  const heard: string[] = [];
  /** To all who listen: what is not for everybody. */
  const told: string[] = [];
  await client.connection.subscribe({ sender: NAME, interface: NAME, member: "MachineChanged" }, ({ body }) => {
    const [name, type, view] = body as [string, string, Record<string, { readonly value: unknown }>];
    heard.push(`${name} ${type} ${view["state"]?.value ?? ""}`);
    told.push(...["image", "status", "reason"].filter((key) => key in view));
  });
  const seen: unknown[] = [];
  const MACHINE1 = "org.freedesktop.machine1";
  await client.connection.subscribe({ sender: MACHINE1, interface: `${MACHINE1}.Manager` }, ({ body }) =>
    seen.push(body),
  );
  const [plan] = await client.call("Plan", "s", ["m"], "s");
  expect(JSON.parse(String(plan))).toMatchObject({ machine: "m" });
  expect(await client.call("Check", "s", ["m"], "as")).toEqual([[]]);
  const stopped = client.call("Wait", "ss", ["m", "running"], "");
  await client.call("Start", "st", ["m", 20_000_000n], "");
  await stopped;
  await poll("its first word", () => root.consoleLog("m").includes("up") || undefined);
  expect((await client.call("ListMachines", "b", [false], "aa{sv}"))[0]).toMatchObject([
    { name: { value: "m" }, state: { value: "running" }, ready: { value: true } },
  ]);
  const paused = client.call("Wait", "ss", ["m", "paused"], "");
  await client.call("Pause", "s", ["m"], "");
  await paused;
  await expect(client.call("Wait", "ss", ["m", "starting"], "")).rejects.toMatchObject({
    errorName: "org.freedesktop.DBus.Error.InvalidArgs",
  });
  expect((await client.call("GetMachine", "s", ["m"], "a{sv}"))[0]).toMatchObject({ state: { value: "paused" } });
  await client.call("Resume", "s", ["m"], "");
  expect((await client.call("GetConsole", "su", ["m", 5], "as"))[0]).toContain("up");
  await client.call("PowerOff", "sbt", ["m", true, 0n], "");
  await client.call("Wait", "ss", ["m", "stopped"], "");
  expect((await client.call("Why", "s", ["m"], "sasas"))[0]).toBe("stopped");
  await expect(client.call("GetMachine", "s", ["nobody"], "a{sv}")).rejects.toMatchObject({
    errorName: `${MACHINE1}.NoSuchMachine`,
  });
  await poll("the last event", () => (heard.at(-1)?.startsWith("m removed") ? true : undefined));
  // It comes when it has a leader, and goes.
  const path = "/org/freedesktop/machine1/machine/m";
  expect(seen).toEqual([
    ["m", path],
    ["m", path],
  ]);
  expect(told).toEqual([]);
  expect(heard[0]).toBe("m new running");
  expect(heard).toContain("m changed paused");
  root.settings("m", "[Exec]\nBoot=x");
  expect((await client.call("Check", "s", ["m"], "as"))[0]).toEqual([expect.stringContaining("m.nspawn:2")]);
});

test("snapshots are made, listed, gone back to, confirmed and removed; throw-away copies are started", async () => {
  await using root = berthRoot();
  await makeMachine(root);
  await using client = await clientOf(root);
  await client.call("Start", "st", ["m", 0n], "");
  expect(await client.call("Snapshot", "sss", ["m", "", "first"], "a{sv}")).toMatchObject([
    {
      ...{ image: { value: "m" }, name: { value: "snap0" }, comment: { value: "first" }, running: { value: true } },
      frozen: { signature: "t" },
    },
  ]);
  await expect(client.call("Rollback", "ssb", ["m", "snap0", false], "s")).rejects.toThrow("machine m is running");
  expect(await client.call("Rollback", "ssb", ["m", "", true], "s")).toEqual(["before-rollback"]);
  expect((await client.call("GetMachine", "s", ["m"], "a{sv}"))[0]).toMatchObject({ state: { value: "running" } });
  const list = async (): Promise<readonly unknown[]> => {
    const [all] = await client.call("ListSnapshots", "s", ["m"], "aa{sv}");
    return (all as { readonly name: { readonly value: unknown } }[]).map(({ name }) => name.value);
  };
  expect(await list()).toEqual(["snap0", "before-rollback"]);
  expect(await client.call("UndoRollback", "sb", ["m", true], "s")).toEqual(["before-rollback-2"]);
  expect(await client.call("ConfirmRollback", "s", ["m"], "as")).toEqual([["before-rollback-2"]]);
  await client.call("RemoveSnapshot", "ss", ["m", "snap0"], "");
  expect(await list()).toEqual([]);
  await expect(client.call("RemoveSnapshot", "ss", ["m", "../m"], "")).rejects.toThrow("snapshot name");
  const [copy] = await client.call("StartEphemeral", "st", ["m", 0n], "s");
  expect(copy).toMatch(/^m-[0-9a-f]{8}$/);
  for (const name of ["m", copy]) await client.call("PowerOff", "sbt", [name, true, 0n], "");
});

test("a command has the caller's fds, a status, and signals; it goes with the caller", async () => {
  await using root = berthRoot();
  await makeMachine(root);
  const daemon = Number(readFileSync(join(root.path, "run/berthd.lock"), "utf8"));
  await using client = await clientOf(root);
  await client.call("Start", "st", ["m", 0n], "");
  const before = openFds(daemon).length;
  const begin = async (on: Client, script: string): Promise<[id: number, stdout: number]> => {
    const [output, input] = pipe();
    const argv = ["/bin/sh", "-c", script];
    const [id] = await on.call(
      "Exec",
      "sasssashhh",
      ["m", argv, "1234", "/", ["A=b"], openNull(), input, openNull()],
      "u",
    );
    return [Number(id), output];
  };
  const [id, stdout] = await begin(client, "id -u; echo $A; pwd; exit 7");
  expect(await client.call("ExecWait", "u", [id], "i")).toEqual([7]);
  expect(readHead(`/proc/self/fd/${stdout}`, 100).toString()).toBe("1234\nb\n/\n");
  closeSync(stdout);
  await expect(client.call("ExecWait", "u", [id], "i")).rejects.toThrow(`No command ${id} of yours is running.`);

  const [sleeping, nothing] = await begin(client, "exec sleep 1000");
  await client.call("ExecSignal", "ui", [sleeping, 15], "");
  expect(await client.call("ExecWait", "u", [sleeping], "i")).toEqual([128 + 15]);
  closeSync(nothing);

  const other = await clientOf(root);
  const [, pid] = await begin(other, "echo $$; exec sleep 1000");
  await expect(client.call("ExecSignal", "ui", [sleeping + 1, 9], "")).rejects.toThrow("of yours");
  const line = Buffer.alloc(100);
  expect(line.toString("latin1", 0, readSync(pid, line))).toMatch(/^\d+\n$/);
  await other[Symbol.asyncDispose]();
  // Its end is the end of the pipe.
  expect(readFileSync(`/proc/self/fd/${pid}`, "utf8")).toBe("");
  closeSync(pid);

  const fds = () => [openNull(), openNull(), openNull()];
  const IMPORT = { destination: "org.freedesktop.import1", path: "/org/freedesktop/import1" };
  const then = openFds(daemon).length;
  for (let round = 0; round < 5; round++) {
    const nobody = client.call("Exec", "sasssashhh", ["nobody", ["true"], "", "", [], ...fds()], "u");
    await expect(nobody).rejects.toThrow("nobody");
    const raw = client.connection.call({
      ...{ ...IMPORT, interface: "org.freedesktop.import1.Manager", member: "ImportRawEx" },
      ...{ in: "hsst", args: [openNull(), "raw", "portable", 0n], out: "uo" },
    });
    await expect(raw).rejects.toThrow(/portable/);
  }
  expect(openFds(daemon).length).toBeLessThan(then + 5); // what was sent with a call that failed is closed
  const terminal = client.call(
    "Exec",
    "sasssashhh",
    ["m", ["true"], "", "", [], openSync("/dev/ptmx", "r+"), openNull(), openNull()],
    "u",
  );
  await expect(terminal).rejects.toThrow("stdin is a terminal, which a machine must not have");
  await client.call("PowerOff", "sbt", ["m", true, 0n], "");
  await poll("the daemon's fds", () => (openFds(daemon).length < before ? true : undefined));
});

test("a bus that is killed comes again, and so does a daemon; machines notice neither", async () => {
  await using root = berthRoot();
  await makeMachine(root);
  expect((await root.berth("start", "m")).status).toBe(0);
  const machinectl = machinectlOn(root);
  const works = async (): Promise<boolean> =>
    (await machinectl("show", "m", "-p", "State", "--value")).stdout === "running\n";
  await clientOf(root).then((client) => client[Symbol.asyncDispose]());
  const busPid = async (): Promise<number> => {
    const connection = await Connection.open(`unix:path=${root.bus}`);
    const [pid] = await connection.call({
      destination: "org.freedesktop.DBus",
      path: "/org/freedesktop/DBus",
      interface: "org.freedesktop.DBus",
      member: "GetConnectionUnixProcessID",
      in: "s",
      args: ["org.freedesktop.DBus"],
      out: "u",
    });
    connection.close();
    return pid;
  };
  const leader = root.record("m")?.leader.pid ?? 0;
  const first = await busPid();
  process.kill(first, "SIGKILL");
  // Who needs no bus notices neither.
  expect(await root.berth("exec", "m", "--", "/probe", "cwd")).toMatchObject({ status: 0 });
  expect(JSON.parse((await root.berth("list", "--json")).stdout)).toMatchObject([{ name: "m", state: "running" }]);
  for (let round = 0; !(await works()); round++) if (round > 100) throw new Error("the bus did not come again");
  const second = await busPid();
  expect(second).not.toBe(first);

  const daemon = Number(readFileSync(join(root.path, "run/berthd.lock"), "utf8"));
  process.kill(daemon, "SIGKILL");
  await poll("the end of the daemon", () => (isRunning(daemon) ? undefined : true));
  expect((await machinectl("list")).status).toBe(1);
  expect((await root.berth("daemon", "start")).status).toBe(0);
  expect((await root.berth("daemon", "status")).status).toBe(0);
  expect(await works()).toBe(true);
  // Its clients stay connected.
  expect(await busPid()).toBe(second);
  expect(root.record("m")?.leader.pid).toBe(leader);
  expect((await machinectl("terminate", "m")).status).toBe(0);
});
