import { DBusError } from "../bus/dbus-error.ts";
import { type Interface, method, property, signal } from "../bus/interface.ts";
import { UsageError } from "../errors.ts";
import { type ImageInfo, noSuchImage } from "../image/image.ts";
import type { ImageStore } from "../image/store.ts";
import { allow, invalid } from "./access.ts";
import { theHost } from "./bus-machine.ts";
import { type Forwarding, forward } from "./forward.ts";
import { bytes, imageInterface, limitOf, microseconds } from "./machine1-images.ts";
import { machineInterface } from "./machine1-machine.ts";
import { registration } from "./machine1-register.ts";
import { imagePath, MACHINE1, machinePath } from "./places.ts";
import type { Services } from "./services.ts";
import { mapFromMachine, mapToMachine } from "./user-maps.ts";

/** Counting what a store holds takes as long as reading its directories; no caller waits longer for it. */
const POOL_PATIENCE_MS = 2000;
/** Bytes of a file's name. */
const NAME_MAX = 255;
const OPEN = { unprivileged: true } as const;

/** org.freedesktop.machine1.Manager. */
export function managerInterface(services: Services): Interface {
  const { store } = services;
  return {
    name: `${MACHINE1}.Manager`,
    properties: {
      PoolPath: property({ type: "s", emits: "false", read: () => store.paths.machines }),
      PoolUsage: property({ type: "t", emits: "false", read: async () => bytes((await pool()).usage) }),
      PoolLimit: property({ type: "t", emits: "false", read: async () => bytes((await pool()).limit) }),
    },
    methods: {
      ...lookUps(services),
      ...registration(services),
      ...machineMethods(services),
      ...imageMethods(services),
      ...poolMethods(services),
      ...userMethods(services),
    },
    signals: {
      MachineNew: signal("so", ["machine", "path"]),
      MachineRemoved: signal("so", ["machine", "path"]),
    },
  };

  function pool(): ReturnType<typeof store.pool> {
    return store.pool(POOL_PATIENCE_MS);
  }
}

function lookUps({ machines, store }: Services): Interface["methods"] {
  return {
    GetMachine: method({
      ...OPEN,
      in: "s",
      out: "o",
      inNames: ["name"],
      outNames: ["machine"],
      handler: (_, name) => machinePath(machines.get(name).name),
    }),
    GetImage: method({
      ...OPEN,
      in: "s",
      out: "o",
      inNames: ["name"],
      outNames: ["image"],
      handler: (_, name) => imagePath(imageOf(name, store, () => true).name),
    }),
    GetMachineByPID: method({
      ...OPEN,
      in: "u",
      out: "o",
      inNames: ["pid"],
      outNames: ["machine"],
      async handler(call, pid) {
        const wanted = pid === 0 ? (await call.credentials()).pid : pid;
        if (wanted === undefined)
          throw new DBusError("UnixProcessIdUnknown", "The bus does not say which process calls.");
        return machinePath(machines.byPid(wanted).name);
      },
    }),
    ListMachines: method({
      ...OPEN,
      in: "",
      out: "a(ssso)",
      outNames: ["machines"],
      handler: () =>
        machines
          .list()
          .map(({ name, class: what, service }): [string, string, string, string] => [
            name,
            what,
            service,
            machinePath(name),
          ]),
    }),
    ListImages: method({
      ...OPEN,
      in: "",
      out: "a(ssbttto)",
      outNames: ["images"],
      handler: () =>
        store
          .list()
          .map(
            ({
              name,
              type,
              readOnly,
              created,
              modified,
              usage,
            }): [string, string, boolean, bigint, bigint, bigint, string] => [
              name,
              type,
              readOnly,
              microseconds(created),
              microseconds(modified),
              bytes(usage),
              imagePath(name),
            ],
          ),
    }),
  };
}

function machineMethods(services: Services): Interface["methods"] {
  const to: Forwarding = {
    find: (name) => machineInterface(services.machines.get(name), services),
    shape: machineInterface(theHost(), services),
  };
  return {
    TerminateMachine: forward(to, "Terminate", { argument: "id" }),
    KillMachine: forward(to, "Kill"),
    GetMachineAddresses: forward(to, "GetAddresses"),
    GetMachineSSHInfo: forward(to, "GetSSHInfo"),
    GetMachineOSRelease: forward(to, "GetOSRelease"),
    // Root's alone with this name, as machined has it.
    OpenMachinePTY: { ...forward(to, "OpenPTY"), unprivileged: false },
    OpenMachineLogin: forward(to, "OpenLogin"),
    OpenMachineShell: forward(to, "OpenShell"),
    BindMountMachine: forward(to, "BindMount"),
    CopyFromMachine: forward(to, "CopyFrom"),
    CopyToMachine: forward(to, "CopyTo"),
    CopyFromMachineWithFlags: forward(to, "CopyFromWithFlags"),
    CopyToMachineWithFlags: forward(to, "CopyToWithFlags"),
    OpenMachineRootDirectory: forward(to, "OpenRootDirectory"),
    GetMachineUIDShift: forward(to, "GetUIDShift"),
  };
}

function imageMethods(services: Services): Interface["methods"] {
  const { store } = services;
  const to: Forwarding = {
    find: (name) => imageInterface(imageOf(name, store, isFileName), services),
    shape: imageInterface(store.get(theHost().name), services),
  };
  return {
    RemoveImage: forward(to, "Remove"),
    RenameImage: forward(to, "Rename", { inNames: ["new_name"] }),
    CloneImage: forward(to, "Clone", { inNames: ["new_name", "read_only"] }),
    MarkImageReadOnly: forward(to, "MarkReadOnly", { inNames: ["read_only"] }),
    GetImageHostname: forward(to, "GetHostname", { outNames: ["hostname"] }),
    GetImageMachineID: forward(to, "GetMachineID", { outNames: ["id"] }),
    GetImageMachineInfo: forward(to, "GetMachineInfo", { outNames: ["machine_info"] }),
    GetImageOSRelease: forward(to, "GetOSRelease", { outNames: ["os_release"] }),
    SetImageLimit: forward(to, "SetLimit", { inNames: ["size"] }),
  };
}

/**
 * machined takes other names for images than berth has: of one that it finds good there is no such image.
 * @throws BerthError of kind NoSuchImage, or UsageError
 */
function imageOf(name: string, store: ImageStore, isGood: (name: string) => boolean): ImageInfo {
  try {
    return store.get(name);
  } catch (error) {
    if (error instanceof UsageError && isGood(name)) throw noSuchImage(name, undefined);
    throw error;
  }
}

/** As image_name_is_valid() of systemd. */
function isFileName(name: string): boolean {
  const isOne = name !== "" && name !== "." && name !== ".." && !name.includes("/");
  return isOne && Buffer.byteLength(name) <= NAME_MAX && !/\p{Cc}/u.test(name) && !name.startsWith(".#");
}

function poolMethods({ store }: Services): Interface["methods"] {
  return {
    SetPoolLimit: method({
      ...OPEN,
      in: "t",
      out: "",
      inNames: ["size"],
      async handler(call, size) {
        await allow(call, "manage-machines", { verb: "set_pool_limit" });
        await store.setPoolLimit(limitOf(size));
      },
    }),
    CleanPool: method({
      ...OPEN,
      in: "s",
      out: "a(st)",
      inNames: ["mode"],
      outNames: ["images"],
      async handler(call, mode) {
        if (mode !== "all" && mode !== "hidden") throw invalid(`Unknown mode '${mode}'.`);
        await allow(call, "manage-machines", { verb: "clean_pool", mode });
        const cleaned = await store.clean(mode);
        return cleaned.map(({ name, usage }): [string, bigint] => [name, bytes(usage)]);
      },
    }),
  };
}

function userMethods({ machines }: Services): Interface["methods"] {
  const from = (kind: "User" | "Group", prefix: string) =>
    method({
      ...OPEN,
      in: "su",
      out: "u",
      inNames: ["name", `${prefix}_inner`],
      outNames: [`${prefix}_outer`],
      handler: (_, name, inner) => mapFromMachine(kind, machines.get(name), inner),
    });
  const to = (kind: "User" | "Group", prefix: string) =>
    method({
      ...OPEN,
      in: "u",
      out: "sou",
      inNames: [`${prefix}_outer`],
      outNames: ["machine_name", "machine_path", `${prefix}_inner`],
      handler: (_, outer) => mapToMachine(kind, machines, outer),
    });
  return {
    MapFromMachineUser: from("User", "uid"),
    MapToMachineUser: to("User", "uid"),
    MapFromMachineGroup: from("Group", "gid"),
    MapToMachineGroup: to("Group", "gid"),
  };
}
