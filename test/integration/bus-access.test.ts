/** Who may call what of the daemon on a bus: root all, others to look, and what polkit lets them. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, test } from "vitest";
import { Connection } from "../../src/bus/connection.ts";
import { method } from "../../src/bus/interface.ts";
import { ObjectServer } from "../../src/bus/object-server.ts";
import { BERTH, type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";
import { startTestBus, type TestBus } from "../lib/test-bus.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:dbus-daemon", "tool:gdbus", "tool:setpriv", "no-systemd");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const MACHINE1 = "org.freedesktop.machine1";
const OBJECTS: Readonly<Record<string, readonly [name: string, path: string]>> = {
  machine1: [MACHINE1, "/org/freedesktop/machine1"],
  machine: [MACHINE1, "/org/freedesktop/machine1/machine/m"],
  image: [MACHINE1, "/org/freedesktop/machine1/image/m"],
  import1: ["org.freedesktop.import1", "/org/freedesktop/import1"],
  systemd1: ["org.freedesktop.systemd1", "/org/freedesktop/systemd1"],
  berth: ["org.berth.Manager1", "/org/berth/Manager1"],
};

/** What is called by whom has no rights, and what polkit is to be asked. */
type Row = readonly [
  object: string,
  call: string,
  args: readonly string[],
  action: string,
  details: Record<string, string>,
];
const manage = (verb: string, more: Record<string, string> = {}) => ({ machine: "m", verb, ...more });
const image = (verb: string, more: Record<string, string> = {}) => ({ image: "m", verb, ...more });
const ASKED: readonly Row[] = [
  ["machine1", "Manager.TerminateMachine", ["m"], `${MACHINE1}.manage-machines`, manage("terminate")],
  ["machine1", "Manager.KillMachine", ["m", "leader", "9"], `${MACHINE1}.manage-machines`, manage("kill")],
  [
    "machine1",
    "Manager.CopyToMachine",
    ["m", "/a", "/b"],
    `${MACHINE1}.manage-machines`,
    manage("copy", { src: "/a", dest: "/b" }),
  ],
  [
    "machine1",
    "Manager.CopyFromMachine",
    ["m", "/a", ""],
    `${MACHINE1}.manage-machines`,
    manage("copy", { src: "/a", dest: "/a" }),
  ],
  [
    "machine1",
    "Manager.BindMountMachine",
    ["m", "/a", "/b", "false", "false"],
    `${MACHINE1}.manage-machines`,
    manage("bind", { src: "/a", dest: "/b" }),
  ],
  ["machine1", "Manager.OpenMachineRootDirectory", ["m"], `${MACHINE1}.manage-machines`, manage("open_root_directory")],
  ["machine1", "Manager.OpenMachineLogin", ["m"], `${MACHINE1}.login`, manage("login")],
  [
    "machine1",
    "Manager.OpenMachineShell",
    ["m", "", "", "[]", "[]"],
    `${MACHINE1}.shell`,
    { machine: "m", user: "root", program: "shell" },
  ],
  ["machine1", "Manager.OpenMachineLogin", [".host"], `${MACHINE1}.host-login`, { machine: ".host", verb: "login" }],
  ["machine1", "Manager.SetPoolLimit", ["1"], `${MACHINE1}.manage-machines`, { verb: "set_pool_limit" }],
  ["machine1", "Manager.CleanPool", ["all"], `${MACHINE1}.manage-machines`, { verb: "clean_pool", mode: "all" }],
  ["machine1", "Manager.RemoveImage", ["m"], `${MACHINE1}.manage-images`, image("remove")],
  ["machine1", "Manager.RenameImage", ["m", "n"], `${MACHINE1}.manage-images`, image("rename", { new_name: "n" })],
  [
    "machine1",
    "Manager.CloneImage",
    ["m", "n", "true"],
    `${MACHINE1}.manage-images`,
    image("clone", { new_name: "n" }),
  ],
  ["image", "Image.SetLimit", ["1"], `${MACHINE1}.manage-images`, image("set_limit")],
  ["machine", "Machine.Terminate", [], `${MACHINE1}.manage-machines`, manage("terminate")],
  ["machine", "Machine.OpenPTY", [], `${MACHINE1}.open-pty`, { machine: "m" }],
  ["import1", "Manager.PullTar", ["http://h/x", "x", "no", "false"], "org.freedesktop.import1.pull", {}],
  ["import1", "Manager.CancelTransfer", ["1"], "org.freedesktop.import1.pull", {}],
  [
    "systemd1",
    "Manager.StartUnit",
    ["berth@m.service", "fail"],
    "org.freedesktop.systemd1.manage-units",
    { unit: "berth@m.service", verb: "start" },
  ],
  ["berth", "Pause", ["m"], "org.berth.manage", manage("pause")],
  ["berth", "Start", ["m", "0"], "org.berth.manage", manage("start")],
  ["berth", "Why", ["m"], "org.berth.manage", manage("why")],
  ["berth", "Plan", ["m"], "org.berth.manage", manage("plan")],
  ["berth", "SetProperties", ["m", "['MemoryMax=1G']"], "org.berth.manage", manage("set-property")],
];

/** For root alone, whatever polkit says; and what everybody may see. */
const ROOTS: readonly (readonly [string, string, readonly string[]])[] = [
  ["machine1", "Manager.OpenMachinePTY", ["m"]],
  ["machine1", "Manager.RegisterMachine", ["x", "[]", "", "container", "1", "/"]],
];
const OPEN: readonly (readonly [string, string, readonly string[]])[] = [
  ["machine1", "Manager.ListMachines", []],
  ["machine1", "Manager.GetMachineOSRelease", ["m"]],
  ["machine1", "Manager.ListImages", []],
  ["import1", "Manager.ListTransfers", []],
  ["berth", "GetMachine", ["m"]],
];

async function asNobody(bus: TestBus, object: string, member: string, args: readonly string[]): Promise<string> {
  const [name = "", path = ""] = OBJECTS[object] ?? [];
  const call = ["call", "--address", bus.publicAddress, "-d", name, "-o", path, "-m", `${name}.${member}`, ...args];
  const words = ["--reuid=65534", "--regid=65534", "--clear-groups", "gdbus", ...call];
  try {
    return (await promisify(execFile)("setpriv", words, { timeout: 15_000 })).stdout.trim();
  } catch (error) {
    return String((error as { stderr?: string }).stderr).trim();
  }
}

/** One that says no, and what it was asked. */
async function startPolkit(bus: TestBus) {
  const asked: [string, Readonly<Record<string, string>>][] = [];
  const server = new ObjectServer({ onError: console.error });
  const CheckAuthorization = method({
    in: "(sa{sv})sa{ss}us",
    out: "(bba{ss})",
    unprivileged: true,
    handler(_, _subject, action, details): [boolean, boolean, Record<string, string>] {
      asked.push([action, details]);
      return [false, false, {}];
    },
  });
  server.export("/org/freedesktop/PolicyKit1/Authority", [
    { name: "org.freedesktop.PolicyKit1.Authority", methods: { CheckAuthorization } },
  ]);
  const connection = await Connection.open(bus.address);
  server.attach(connection);
  await connection.requestName("org.freedesktop.PolicyKit1");
  return { asked, close: () => connection.close() };
}

async function onTestBus(root: BerthRoot, bus: TestBus): Promise<void> {
  await probeTree({ at: join(root.machines, "m"), init: true });
  const env = { DBUS_SYSTEM_BUS_ADDRESS: bus.address };
  const start = root.spawn([BERTH, "daemon", "start"], { env });
  expect((await start.end).status).toBe(0);
  expect(JSON.parse((await root.berth("daemon", "status", "--json")).stdout).bus).toBe(bus.address);
  expect((await root.berth("start", "m")).status).toBe(0);
}

describe("an unprivileged caller", () => {
  test("looks, and does what polkit allows, which is asked about each thing", async () => {
    await using root = berthRoot();
    const bus = await startTestBus();
    try {
      await onTestBus(root, bus);
      for (const [object, member, args] of OPEN)
        expect([member, await asNobody(bus, object, member, args)]).toEqual([member, expect.stringMatching(/^\(/)]);
      const alone = await asNobody(bus, "machine1", "Manager.TerminateMachine", ["m"]);
      expect(alone).toContain("AccessDenied: Access denied: only root may do this where no polkit runs.");

      const { asked, close } = await startPolkit(bus);
      for (const [object, member, args, action, details] of ASKED) {
        const answer = await asNobody(bus, object, member, args);
        expect([member, answer]).toEqual([member, expect.stringContaining(`polkit does not grant ${action}.`)]);
        expect([member, asked.splice(0)]).toEqual([member, [[action, details]]]);
      }
      for (const [object, member, args] of ROOTS) {
        const answer = await asNobody(bus, object, member, args);
        expect([member, answer]).toEqual([member, expect.stringContaining("AccessDenied: Access to")]);
      }
      // The object comes first, as in machined.
      const nobody = await asNobody(bus, "machine1", "Manager.TerminateMachine", ["nobody"]);
      expect(nobody).toContain("org.freedesktop.machine1.NoSuchMachine: No machine 'nobody' known");
      expect(asked).toEqual([]);
      close();
      expect(root.record("m")).toMatchObject({ state: "running" });
      expect((await root.berth("terminate", "m")).status).toBe(0);
    } finally {
      await root.berth("daemon", "stop");
      await bus.remove();
    }
  });
});
