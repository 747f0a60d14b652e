import { type Interface, method } from "../bus/interface.ts";
import type { MethodCall } from "../bus/method-call.ts";
import { authorise } from "../bus/polkit.ts";
import { type Variant, variant } from "../bus/values.ts";
import type { SnapshotInfo } from "../image/snapshots/snapshot.ts";
import type { RollbackRequest } from "../manager/image-snapshots.ts";
import type { Services } from "./services.ts";
import { whileCalled } from "./while-called.ts";

const OPEN = { unprivileged: true } as const;

/** Of org.berth.Manager1: snapshots of images, and throw-away copies of machines. */
export function snapshotMethods({ snapshots, throwAways, log }: Services): NonNullable<Interface["methods"]> {
  return {
    Snapshot: method({
      ...OPEN,
      in: "sss",
      out: "a{sv}",
      inNames: ["name", "snapshot", "comment"],
      outNames: ["made"],
      async handler(call, name, snapshot, comment) {
        await allow(call, name, "snapshot");
        return show(
          await whileCalled(call, (signal) =>
            snapshots.take(name, snapshot === "" ? null : snapshot, comment, { signal }),
          ),
        );
      },
    }),
    ListSnapshots: method({
      ...OPEN,
      in: "s",
      out: "aa{sv}",
      inNames: ["name"],
      outNames: ["snapshots"],
      async handler(call, name) {
        await allow(call, name, "snapshots");
        return (await snapshots.list(name)).map(show);
      },
    }),
    RemoveSnapshot: method({
      ...OPEN,
      in: "ss",
      out: "",
      inNames: ["name", "snapshot"],
      async handler(call, name, snapshot) {
        await allow(call, name, "remove-snapshot");
        await snapshots.remove(name, snapshot);
      },
    }),
    Rollback: method({
      ...OPEN,
      in: "ssb",
      out: "s",
      inNames: ["name", "snapshot", "restart"],
      outNames: ["kept"],
      handler: (call, name, snapshot, restart) =>
        rollBack(call, { name, snapshot: snapshot === "" ? null : snapshot, undo: false, restart, timeout: null }),
    }),
    UndoRollback: method({
      ...OPEN,
      in: "sb",
      out: "s",
      inNames: ["name", "restart"],
      outNames: ["kept"],
      handler: (call, name, restart) => rollBack(call, { name, snapshot: null, undo: true, restart, timeout: null }),
    }),
    ConfirmRollback: method({
      ...OPEN,
      in: "s",
      out: "as",
      inNames: ["name"],
      outNames: ["removed"],
      async handler(call, name) {
        await allow(call, name, "rollback");
        return snapshots.confirm(name);
      },
    }),
    StartEphemeral: method({
      ...OPEN,
      in: "st",
      out: "s",
      inNames: ["name", "timeout_usec"],
      outNames: ["machine"],
      async handler(call, name, timeout) {
        await allow(call, name, "start");
        const { signal } = new AbortController();
        const caller = { signal, timeout: ms(timeout), say: log, onStatus: () => undefined };
        return throwAways.start(name, caller, () => undefined);
      },
    }),
  };

  async function rollBack(call: MethodCall, request: RollbackRequest): Promise<string> {
    await allow(call, request.name, "rollback");
    const { signal } = new AbortController(); // what is begun is gone through with
    return (await snapshots.rollBack(request, { signal, say: log })).kept;
  }
}

function allow(call: MethodCall, machine: string, verb: string): Promise<void> {
  return authorise(call, "org.berth.manage", { machine, verb });
}

const TIMEOUT_MAX_MS = 2 ** 31 - 1;

/** 0: berth's own, of 90 s. */
export function ms(microseconds: bigint): number {
  return microseconds === 0n ? 90_000 : Math.min(Math.ceil(Number(microseconds) / 1000), TIMEOUT_MAX_MS);
}

/** As `snapshots --json` has it, but for what is not known, which is left out; times are in microseconds. */
function show(snapshot: SnapshotInfo): Readonly<Record<string, Variant>> {
  const { image, name, time, comment, driver, running, frozenMs, replacedBy, berth } = snapshot;
  const microseconds = (value: number): Variant => variant("t", BigInt(Math.round(value * 1000)));
  return {
    image: variant("s", image),
    name: variant("s", name),
    time: microseconds(time),
    comment: variant("s", comment),
    driver: variant("s", driver),
    running: variant("b", running),
    berth: variant("s", berth),
    ...(frozenMs === null ? {} : { frozen: microseconds(frozenMs) }),
    ...(replacedBy === null ? {} : { replacedBy: variant("s", replacedBy) }),
  };
}
