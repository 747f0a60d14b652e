/** What who may call of the daemon on a bus: for bus-access.test.ts. */

const MACHINE1 = "org.freedesktop.machine1";
export const OBJECTS: Readonly<Record<string, readonly [name: string, path: string]>> = {
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
export const ASKED: readonly Row[] = [
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
export const ROOTS: readonly (readonly [string, string, readonly string[]])[] = [
  ["machine1", "Manager.OpenMachinePTY", ["m"]],
  ["machine1", "Manager.RegisterMachine", ["x", "[]", "", "container", "1", "/"]],
];
/** As that one. */
export const REGISTERING = [
  ...["CreateMachine", "CreateMachineWithNetwork", "CreateMachineEx"],
  ...["RegisterMachineWithNetwork", "RegisterMachineEx"],
];
export const OPEN: readonly (readonly [string, string, readonly string[]])[] = [
  ["machine1", "Manager.ListMachines", []],
  ["machine1", "Manager.GetMachineOSRelease", ["m"]],
  ["machine1", "Manager.ListImages", []],
  ["import1", "Manager.ListTransfers", []],
  ["berth", "GetMachine", ["m"]],
];

/** What gdbus can't be told, and the others: with the signature of the arguments, which are as busctl(1) takes them. */
export type SignedRow = readonly [
  ...head: readonly [string, string, string, readonly string[]],
  action: string,
  details: Record<string, string>,
];
const MANAGE = `${MACHINE1}.manage-machines`;
const IMAGES = `${MACHINE1}.manage-images`;
const IMPORT1 = "org.freedesktop.import1";
const copy = manage("copy", { src: "/a", dest: "/b" });
export const SIGNED: readonly SignedRow[] = [
  ["machine1", "Manager.UnregisterMachine", "s", ["m"], MANAGE, manage("unregister")],
  ["machine1", "Manager.CopyToMachineWithFlags", "ssst", ["m", "/a", "/b", "0"], MANAGE, copy],
  ["machine1", "Manager.CopyFromMachineWithFlags", "ssst", ["m", "/a", "/b", "0"], MANAGE, copy],
  ["machine1", "Manager.MarkImageReadOnly", "sb", ["m", "true"], IMAGES, image("mark_read_only", { read_only: "1" })],
  ["machine1", "Manager.SetImageLimit", "st", ["m", "1"], IMAGES, image("set_limit")],
  ["machine", "Machine.Kill", "si", ["leader", "9"], MANAGE, manage("kill")],
  ["machine", "Machine.OpenLogin", "", [], `${MACHINE1}.login`, manage("login")],
  [
    ...(["machine", "Machine.OpenShell", "ssasas", ["", "", "0", "0"], `${MACHINE1}.shell`] as const),
    { machine: "m", user: "root", program: "shell" },
  ],
  [
    "machine",
    "Machine.BindMount",
    "ssbb",
    ["/a", "/b", "false", "false"],
    MANAGE,
    manage("bind", { src: "/a", dest: "/b" }),
  ],
  ["machine", "Machine.CopyTo", "ss", ["/a", "/b"], MANAGE, copy],
  ["machine", "Machine.CopyFrom", "ss", ["/a", "/b"], MANAGE, copy],
  ["machine", "Machine.CopyToWithFlags", "sst", ["/a", "/b", "0"], MANAGE, copy],
  ["machine", "Machine.CopyFromWithFlags", "sst", ["/a", "/b", "0"], MANAGE, copy],
  ["machine", "Machine.OpenRootDirectory", "", [], MANAGE, manage("open_root_directory")],
  ["image", "Image.Remove", "", [], IMAGES, image("remove")],
  ["image", "Image.Rename", "s", ["n"], IMAGES, image("rename", { new_name: "n" })],
  ["image", "Image.Clone", "sb", ["n", "true"], IMAGES, image("clone", { new_name: "n" })],
  ["image", "Image.MarkReadOnly", "b", ["true"], IMAGES, image("mark_read_only", { read_only: "1" })],
  ...["ImportTar", "ImportRaw", "ImportFileSystem"].flatMap((member): SignedRow[] => [
    ["import1", `Manager.${member}`, "hsbb", ["0", "x", "false", "false"], `${IMPORT1}.import`, {}],
    ["import1", `Manager.${member}Ex`, "hsst", ["0", "x", "machine", "0"], `${IMPORT1}.import`, {}],
  ]),
  ...["ExportTar", "ExportRaw"].flatMap((member): SignedRow[] => [
    ["import1", `Manager.${member}`, "shs", ["m", "1", ""], `${IMPORT1}.export`, {}],
    ["import1", `Manager.${member}Ex`, "sshst", ["m", "machine", "1", "", "0"], `${IMPORT1}.export`, {}],
  ]),
  ["import1", "Manager.PullRaw", "sssb", ["http://h/x", "x", "no", "false"], `${IMPORT1}.pull`, {}],
  ...["PullTarEx", "PullRawEx"].map(
    (member): SignedRow => [
      ...([
        "import1",
        `Manager.${member}`,
        "sssst",
        ["http://h/x", "x", "machine", "no", "0"],
        `${IMPORT1}.pull`,
      ] as const),
      {},
    ],
  ),
  [
    ...([
      "systemd1",
      "Manager.StopUnit",
      "ss",
      ["berth@m.service", "fail"],
      "org.freedesktop.systemd1.manage-units",
    ] as const),
    { unit: "berth@m.service", verb: "stop" },
  ],
  ...(["enable", "disable"] as const).map(
    (verb): SignedRow => [
      "systemd1",
      verb === "enable" ? "Manager.EnableUnitFiles" : "Manager.DisableUnitFiles",
      verb === "enable" ? "asbb" : "asb",
      ["1", "berth@m.service", "false", ...(verb === "enable" ? ["false"] : [])],
      "org.freedesktop.systemd1.manage-unit-files",
      { verb },
    ],
  ),
  ["berth", "GetConsole", "su", ["m", "1"], "org.berth.manage", manage("console")],
  ["berth", "Check", "s", ["m"], "org.berth.manage", manage("check")],
  ["berth", "PowerOff", "sbt", ["m", "false", "0"], "org.berth.manage", manage("poweroff")],
  ["berth", "Reboot", "s", ["m"], "org.berth.manage", manage("reboot")],
  ["berth", "Resume", "s", ["m"], "org.berth.manage", manage("resume")],
  [
    ...([
      "berth",
      "Exec",
      "sasssashhh",
      ["m", "1", "/bin/true", "", "", "0", "0", "1", "2"],
      "org.berth.exec",
    ] as const),
    manage("exec"),
  ],
  ["berth", "Snapshot", "sss", ["m", "", ""], "org.berth.manage", manage("snapshot")],
  ["berth", "ListSnapshots", "s", ["m"], "org.berth.manage", manage("snapshots")],
  ["berth", "RemoveSnapshot", "ss", ["m", "s"], "org.berth.manage", manage("remove-snapshot")],
  ["berth", "Rollback", "ssb", ["m", "", "false"], "org.berth.manage", manage("rollback")],
  ["berth", "UndoRollback", "sb", ["m", "false"], "org.berth.manage", manage("rollback")],
  ["berth", "ConfirmRollback", "s", ["m"], "org.berth.manage", manage("rollback")],
  ["berth", "StartEphemeral", "st", ["m", "0"], "org.berth.manage", manage("start")],
];

/** Methods of which no row above asks: they tell what everybody may know, or of a machine's or image's own object what its manager's do. */
export const TELLING: Readonly<Record<string, readonly string[]>> = {
  machine1: [
    ...["GetMachine", "GetImage", "GetMachineByPID", "GetMachineAddresses", "GetMachineSSHInfo", "GetMachineUIDShift"],
    ...["GetImageHostname", "GetImageMachineID", "GetImageMachineInfo", "GetImageOSRelease"],
    ...["MapFromMachineUser", "MapToMachineUser", "MapFromMachineGroup", "MapToMachineGroup"],
  ],
  machine: ["GetAddresses", "GetSSHInfo", "GetOSRelease", "GetUIDShift"],
  image: ["GetHostname", "GetMachineID", "GetMachineInfo", "GetOSRelease"],
  import1: ["ListTransfersEx", "ListImages"],
  systemd1: ["GetUnit", "LoadUnit", "GetUnitByPID", "GetUnitProcesses", "Reload", "Subscribe", "Unsubscribe"],
  // Of a command: who has asked for it.
  berth: ["ListMachines", "Wait", "ExecSignal", "ExecWait"],
};
