/** Calls that a daemon of org.freedesktop.machine1 and import1 has to refuse, and how it is asked. */
import { openSync } from "node:fs";
import { dirname } from "node:path";
import { Connection } from "../../src/bus/connection.ts";
import { DBusError } from "../../src/bus/dbus-error.ts";

/** Of machine1's manager, or another one where the member is written `import1.MEMBER`, or `berth.MEMBER`; an `h` among the arguments' types is an empty file. */
export type WrongCall = readonly [member: string, signature: string, ...args: readonly unknown[]];

/** Stand for fds: of an empty file, a directory, and what is neither. */
const [FILE, DIRECTORY, DEVICE] = ["<file>", "<directory>", "<device>"] as const;
/** Where nobody listens. */
const HOST = "http://127.0.0.1:9";
const BYTES = Buffer.alloc(0);
const [ABSENT, SLASH, UP, EMPTY] = ["nobody", "a/b", "../../etc", ""] as const;
const NAMES = [ABSENT, SLASH, UP, EMPTY] as const;

/** The machine "m" runs, and its image and "web" are there. `gone`: the number of a process that has ended. `there`: a file of the host. */
export function wrongCalls(gone: number, there: string): readonly WrongCall[] {
  const ofName = (members: readonly string[], signature: string, ...more: readonly unknown[]): readonly WrongCall[] =>
    members.flatMap((member) => NAMES.map((name): WrongCall => [member, `s${signature}`, name, ...more]));
  return [
    ...ofName(["GetMachine", "TerminateMachine", "GetMachineAddresses", "GetMachineOSRelease", "OpenMachinePTY"], ""),
    ...ofName(["OpenMachineLogin", "OpenMachineRootDirectory", "GetMachineUIDShift", "UnregisterMachine"], ""),
    ...ofName(["GetMachineSSHInfo"], ""),
    ...ofName(["KillMachine"], "si", "leader", 15),
    ...ofName(["OpenMachineShell"], "ssasas", "", "", [], []),
    ...ofName(["BindMountMachine"], "ssbb", "/usr", "/usr", false, false),
    ...ofName(["CopyFromMachine", "CopyToMachine"], "ss", "/etc/hostname", "/x"),
    ...ofName(["CopyFromMachineWithFlags", "CopyToMachineWithFlags"], "sst", "/etc/hostname", "/x", 0n),
    ...ofName(["MapFromMachineUser", "MapFromMachineGroup"], "u", 0),
    ...ofName(["GetImage", "RemoveImage", "GetImageHostname", "GetImageMachineID"], ""),
    ...ofName(["GetImageMachineInfo", "GetImageOSRelease"], ""),
    ...ofName(["RenameImage"], "s", "x"),
    ...ofName(["CloneImage"], "sb", "x", false),
    ...ofName(["MarkImageReadOnly"], "b", true),
    ...ofName(["SetImageLimit"], "t", 1n << 30n),
    ...["../x", "a/b", "", ".", "web", ".host"].flatMap((name): WrongCall[] => [
      ["RenameImage", "ss", "m", name],
      ["CloneImage", "ssb", "web", name, false],
    ]),
    ["RemoveImage", "s", "web/"],
    ["GetImage", "s", "a b"],
    ["RemoveImage", "s", "a b"],
    ["RemoveImage", "s", "web@snap"],
    ["RemoveImage", "s", ".#x"],
    ["RemoveImage", "s", "x".repeat(70)],
    ["RemoveImage", "s", "x".repeat(256)],
    ["RemoveImage", "s", ".host"],
    ["RenameImage", "ss", ".host", "x"],
    ["MarkImageReadOnly", "sb", ".host", true],
    ["SetImageLimit", "st", ".host", 1n << 30n],
    ["SetImageLimit", "st", "web", 1n << 30n],
    ["SetImageLimit", "st", "web", (1n << 53n) + 1n],
    ["SetImageLimit", "st", "web", (1n << 64n) - 1n],
    ["SetPoolLimit", "t", 1n << 30n],
    ["SetPoolLimit", "t", (1n << 53n) + 1n],
    ["SetPoolLimit", "t", (1n << 64n) - 1n],
    ["CleanPool", "s", "some"],
    ["CleanPool", "s", ""],
    ["GetMachineByPID", "u", gone],
    ["GetMachineByPID", "u", 1],
    ["GetMachineByPID", "u", 0],
    ["GetMachineByPID", "u", 2 ** 32 - 1],
    ["MapToMachineUser", "u", 0],
    ["MapToMachineUser", "u", 2 ** 32 - 1],
    ["MapToMachineUser", "u", 2 ** 31 - 1],
    ["MapToMachineGroup", "u", 2 ** 31 - 1],
    ["MapFromMachineUser", "su", "m", 2 ** 32 - 1],
    ["MapFromMachineUser", "su", "m", 2 ** 32 - 2],
    ["MapFromMachineUser", "su", ".host", 0],
    ["KillMachine", "ssi", "m", "somebody", 15],
    ["KillMachine", "ssi", "m", "leader", 0],
    ["KillMachine", "ssi", "m", "leader", -1],
    ["KillMachine", "ssi", "m", "leader", 65],
    ["KillMachine", "ssi", "m", "supervisor", 0],
    ["KillMachine", "ssi", "m", "supervisor", 28],
    ["CopyToMachine", "sss", "m", "/nonexistent", "/x"],
    ["CopyToMachine", "sss", "m", "nonexistent", "/x"],
    ["CopyToMachine", "sss", "m", "/etc/hostname", "x"],
    ["CopyToMachine", "sss", "m", "/etc/hostname", "/nonexistent/x"],
    ["CopyToMachine", "sss", "m", "/etc/hostname", "/sbin/init"],
    ["CopyToMachine", "sss", "m", "", ""],
    ["CopyToMachine", "sss", ".host", "/etc/hostname", "/nonexistent/x"],
    ["CopyToMachineWithFlags", "ssst", "m", "/etc/hostname", "/x", 8n],
    ["CopyFromMachine", "sss", "m", "/nonexistent", "/tmp/nonexistent/x"],
    ["CopyFromMachine", "sss", "m", "/sbin/init", "/tmp/nonexistent/x"],
    ["CopyFromMachine", "sss", "m", "/sbin/init", there],
    ["CopyFromMachine", "sss", "m", "sbin/init", "/x"],
    ["CopyFromMachine", "sss", "m", "/sbin/init", "x"],
    ["BindMountMachine", "sssbb", "m", "usr", "/x", false, false],
    ["BindMountMachine", "sssbb", "m", "/usr", "x", false, false],
    ["BindMountMachine", "sssbb", "m", "/usr/../etc", "/x", false, false],
    ["BindMountMachine", "sssbb", "m", "/nonexistent", "/mnt", false, false],
    ["BindMountMachine", "sssbb", "m", "/usr", "/nonexistent", false, false],
    ["OpenMachineShell", "sssasas", "m", "", "sh", [], []],
    ["OpenMachineShell", "sssasas", "m", "", "", ["x"], []],
    ["OpenMachineShell", "sssasas", "m", "", "/bin/sh", [], ["x"]],
    ["GetMachineSSHInfo", "s", "m"],
    ["GetMachineAddresses", "s", "m"],
    ...["RegisterMachine", "CreateMachine"].flatMap((member): WrongCall[] => {
      const make = (name: string, what: string, leader: number, root = "", id: Buffer = BYTES): WrongCall => [
        member,
        member === "CreateMachine" ? "sayssusa(sv)" : "sayssus",
        ...[name, id, "test", what, leader, root],
        ...(member === "CreateMachine" ? [[]] : []),
      ];
      return [
        ...["../x", "", "a/b", ".host"].map((name) => make(name, "container", process.pid)),
        make("x", "thing", process.pid),
        make("x", "host", process.pid),
        make("x", "container", gone),
        make("x", "container", 1),
        // Of 2^32-1 that of 252 is killed by an assertion of its own.
        make("x", "container", process.pid, "var"),
        make("x", "container", process.pid, "", Buffer.alloc(3)),
        make("m", "container", process.pid),
      ];
    }),
    ["RegisterMachineWithNetwork", "sayssusai", "x", BYTES, "test", "container", process.pid, "", [0]],
    ["RegisterMachineWithNetwork", "sayssusai", "x", BYTES, "test", "container", process.pid, "", [-1]],
    ...["ImportTar", "ImportRaw", "ImportFileSystem"].flatMap((member): WrongCall[] => {
      const fd = member === "ImportFileSystem" ? DIRECTORY : FILE;
      return [
        ...["../x", "a/b", "", ".", ".host"].map(
          (name): WrongCall => [`import1.${member}`, "hsbb", fd, name, false, false],
        ),
        [`import1.${member}`, "hsbb", fd, "web", false, false],
        [`import1.${member}`, "hsbb", DEVICE, "x", false, false],
        [`import1.${member}`, "hsbb", fd === FILE ? DIRECTORY : FILE, "x", false, false],
        [`import1.${member}Ex`, "hsst", fd, "x", "thing", 0n],
        [`import1.${member}Ex`, "hsst", fd, "x", "portable", 0n],
        [`import1.${member}Ex`, "hsst", fd, "x", "machine", 1n << 20n],
        [`import1.${member}Ex`, "hsst", fd, "../x", "machine", 0n],
      ];
    }),
    ...["ExportTar", "ExportRaw"].flatMap((member): WrongCall[] => [
      ...NAMES.map((name): WrongCall => [`import1.${member}`, "shs", name, FILE, ""]),
      [`import1.${member}`, "shs", "web", FILE, "zip"],
      [`import1.${member}`, "shs", "web", DEVICE, ""],
      [`import1.${member}Ex`, "sshst", "web", "thing", FILE, "", 0n],
      [`import1.${member}Ex`, "sshst", "web", "machine", FILE, "", 1n],
    ]),
    ...["PullTar", "PullRaw"].flatMap((member): WrongCall[] => [
      ...["foo", "", "/x", "ftp://host/x", "file:///x", "http:", "http://"].map(
        (url): WrongCall => [`import1.${member}`, "sssb", url, "x", "no", false],
      ),
      ...["../x", "a/b", ".", ".host"].map(
        (name): WrongCall => [`import1.${member}`, "sssb", `${HOST}/${member}/${name}`, name, "no", false],
      ),
      [`import1.${member}`, "sssb", `${HOST}/${member}-0`, "x", "some", false],
      [`import1.${member}`, "sssb", `${HOST}/${member}-1`, "web", "no", false],
      [`import1.${member}`, "sssb", `${HOST}/${member}-2`, "", "no", false],
      [`import1.${member}Ex`, "sssst", `${HOST}/${member}`, "x", "thing", "no", 0n],
      [`import1.${member}Ex`, "sssst", `${HOST}/${member}`, "x", "machine", "no", 1n << 20n],
    ]),
    ["import1.CancelTransfer", "u", 4711],
    ["import1.CancelTransfer", "u", 0],
    ["import1.ListTransfersEx", "st", "thing", 0n],
    ["import1.ListTransfersEx", "st", "", 1n],
    ["import1.ListImages", "st", "thing", 0n],
    ["import1.ListImages", "st", "", 1n],
    ["UnregisterMachine", "s", ".host"],
  ];
}

/** What each call was answered with, by itself as text: an error's name, or "ok". Fds are of `there` and its directory. */
export async function answersTo(
  address: string,
  calls: readonly WrongCall[],
  there: string,
): Promise<ReadonlyMap<string, string>> {
  const connection = await Connection.open(address);
  const answers = new Map<string, string>();
  try {
    for (const call of calls) answers.set(textOf(call), await answerTo(connection, call, there));
    return answers;
  } finally {
    connection.close();
    await connection.ended;
  }
}

function textOf([member, , ...args]: WrongCall): string {
  const shown = args.map((each) => {
    if (each instanceof Buffer) return `${each.length} bytes`;
    if (typeof each === "bigint") return String(each);
    if (each === process.pid) return "<self>";
    return typeof each === "string" && each.length > 64 ? `${each.length} characters` : JSON.stringify(each);
  });
  return `${member}(${shown.join(", ")})`;
}

async function answerTo(connection: Connection, call: WrongCall, there: string): Promise<string> {
  const [name, signature, ...values] = call;
  const [member = "", service = "machine1"] = name.split(".").reverse();
  const isBerth = service === "berth";
  const places: ReadonlyMap<unknown, readonly [string, string]> = new Map([
    [FILE, [there, "r+"]],
    [DIRECTORY, [dirname(there), "r"]],
    [DEVICE, ["/dev/null", "r+"]],
  ] as const);
  const args = values.map((value) => {
    const place = signature.includes("h") ? places.get(value) : undefined;
    return place === undefined ? value : openSync(...place);
  });
  try {
    await connection.call({
      destination: isBerth ? "org.berth.Manager1" : `org.freedesktop.${service}`,
      path: isBerth ? "/org/berth/Manager1" : `/org/freedesktop/${service}`,
      interface: isBerth ? "org.berth.Manager1" : `org.freedesktop.${service}.Manager`,
      ...{ member, in: signature, args: args as never, out: "" },
    });
    return "ok";
  } catch (error) {
    if (!(error instanceof DBusError)) throw error;
    // There is an answer.
    if (error.errorName.endsWith(".InvalidSignature")) return "ok";
    return `${error.errorName.replace(/^org\.freedesktop\.(DBus\.Error\.)?/, "")}`;
  }
}
