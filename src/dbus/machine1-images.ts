import { type Interface, method, property } from "../bus/interface.ts";
import type { ImageInfo } from "../image/image.ts";
import { allowImage, invalid } from "./access.ts";
import { MACHINE1, NONE } from "./places.ts";
import type { Services } from "./services.ts";
import { whileCalled } from "./while-called.ts";

/** org.freedesktop.machine1.Image, of one that is there now. */
export function imageInterface(image: ImageInfo, { store, manager }: Services): Interface {
  const open = { unprivileged: true } as const;
  const { name } = image;
  return {
    name: `${MACHINE1}.Image`,
    properties: {
      Name: property({ type: "s", emits: "false", read: () => name }),
      Path: property({ type: "s", emits: "false", read: () => image.path }),
      Type: property({ type: "s", emits: "false", read: () => image.type }),
      ReadOnly: property({ type: "b", emits: "false", read: () => image.readOnly }),
      CreationTimestamp: property({ type: "t", emits: "false", read: () => microseconds(image.created) }),
      ModificationTimestamp: property({ type: "t", emits: "false", read: () => microseconds(image.modified) }),
      Usage: property({ type: "t", emits: "false", read: () => bytes(image.usage) }),
      Limit: property({ type: "t", emits: "false", read: () => bytes(image.limit) }),
      UsageExclusive: property({ type: "t", emits: "false", read: () => bytes(image.usageExclusive) }),
      LimitExclusive: property({ type: "t", emits: "false", read: () => bytes(image.limitExclusive) }),
    },
    methods: {
      Remove: method({
        ...open,
        in: "",
        out: "",
        async handler(call) {
          await allowImage(call, name, "remove");
          await store.remove(name);
          await manager.forget(name);
        },
      }),
      Rename: method({
        ...open,
        in: "s",
        out: "",
        async handler(call, newName) {
          await allowImage(call, name, "rename", { new_name: newName });
          await store.rename(name, newName);
          await manager.forget(name);
        },
      }),
      Clone: method({
        ...open,
        in: "sb",
        out: "",
        async handler(call, newName, readOnly) {
          await allowImage(call, name, "clone", { new_name: newName });
          await whileCalled(call, (signal) => store.clone(name, newName, { readOnly, signal }));
        },
      }),
      MarkReadOnly: method({
        ...open,
        in: "b",
        out: "",
        async handler(call, readOnly) {
          await allowImage(call, name, "mark_read_only", { read_only: readOnly ? "1" : "0" });
          await store.setReadOnly(name, readOnly);
        },
      }),
      SetLimit: method({
        ...open,
        in: "t",
        out: "",
        async handler(call, limit) {
          await allowImage(call, name, "set_limit");
          await store.setLimit(name, limitOf(limit));
        },
      }),
      GetHostname: method({
        ...open,
        in: "",
        out: "s",
        handler: async () => (await store.inside(name)).hostname ?? "",
      }),
      GetMachineID: method({
        ...open,
        in: "",
        out: "ay",
        handler: async () => Buffer.from((await store.inside(name)).machineId ?? "", "hex"),
      }),
      GetMachineInfo: method({
        ...open,
        in: "",
        out: "a{ss}",
        handler: async () => (await store.inside(name)).machineInfo,
      }),
      GetOSRelease: method({
        ...open,
        in: "",
        out: "a{ss}",
        handler: async () => (await store.inside(name)).osRelease,
      }),
    },
  };
}

export function microseconds(ms: number | null): bigint {
  return ms === null ? 0n : BigInt(Math.round(ms * 1000));
}

export function bytes(count: number | null): bigint {
  return count === null ? NONE : BigInt(Math.round(count));
}

/** Null: none. @throws DBusError InvalidArgs: nothing is limited to another size than was meant */
export function limitOf(value: bigint): number | null {
  if (value === NONE) return null;
  if (value > LIMIT_MAX) throw invalid(`A limit is at most ${LIMIT_MAX} bytes, or ${NONE} for none`);
  return Number(value);
}

/** What sizes here are exact up to: 8 PiB. */
const LIMIT_MAX = BigInt(Number.MAX_SAFE_INTEGER);
