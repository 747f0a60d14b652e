import { BerthError } from "../errors.ts";
import { INSTALLATION } from "../host/installation.ts";
import type { Paths } from "../host/paths.ts";
import { killIn } from "../machine/kill-in.ts";
import type { Applies } from "../manager/applies.ts";
import type { Autostart } from "../manager/autostart.ts";
import type { ImageSnapshots } from "../manager/image-snapshots.ts";
import type { Loads } from "../manager/loads.ts";
import { type Reader, viewFor } from "../manager/machine-view.ts";
import type { MachineEvent, Manager } from "../manager/manager.ts";
import { type DaemonStatus, type MethodName, type Methods, WAIT_STATES } from "../manager/protocol.ts";
import { payloadStdio } from "../manager/take-stdio.ts";
import type { ThrowAways } from "../manager/throw-aways.ts";
import { TIMER_MAX } from "../manager/timers.ts";
import type { Transfer } from "../transfer/transfer.ts";
import type { Transfers } from "../transfer/transfers.ts";
import { flag, number, oneOf, type Params, text, textOrNull, texts } from "./params.ts";
import { pull, viewTransfer } from "./pull.ts";

const ID_MAX = 2 ** 32 - 1;

/** Who calls, and what is between the two while the call lasts. */
export interface Call<M extends MethodName = MethodName> {
  readonly params: Params;
  /** What the caller may read. */
  readonly reader: Reader;
  /** Aborted when nobody waits any more: the caller has cancelled it, or is gone. */
  readonly signal: AbortSignal;
  /** Aborted when the caller says so, or the daemon ends. */
  readonly cancelled: AbortSignal;
  event(event: Methods[M]["event"]): void;
  /** Signals that the caller sends on. */
  onSignal(handler: (signal: number) => void): void;
  /** The caller's own fds 0 to 2, or those that came with the request. They are the taker's. */
  takeStdio(which: "own" | "sent"): readonly number[];
}

export interface Daemon {
  readonly paths: Paths;
  readonly manager: Manager;
  readonly autostart: Autostart;
  readonly loads: Loads;
  readonly applies: Applies;
  readonly snapshots: ImageSnapshots;
  readonly throwAways: ThrowAways;
  status(): Promise<DaemonStatus>;
  transfers(): Promise<Transfers>;
  /** Ends the daemon, after the answer: the transfers that are going on. */
  quit(machines: boolean, timeout: number | null): Promise<readonly Transfer[]>;
}

interface Method<M extends MethodName> {
  /** For root, or for every user of the host. */
  readonly for: "root" | "all";
  run(daemon: Daemon, call: Call<M>): Promise<Methods[M]["result"]>;
}

export const METHODS: { readonly [M in MethodName]: Method<M> } = {
  ping: { for: "all", run: async () => null },
  status: { for: "all", run: (daemon) => daemon.status() },
  quit: {
    for: "root",
    run: async (daemon, { params }) =>
      (await daemon.quit(flag(params, "machines"), timeout(params))).map((transfer) => viewTransfer(transfer, true)),
  },
  list: {
    for: "all",
    run: async ({ manager }, { params, reader }) =>
      manager.list(flag(params, "all")).map((view) => viewFor(view, reader)),
  },
  show: {
    for: "all",
    run: async ({ manager }, { params, reader }) => manager.details(name(params), reader),
  },
  view: {
    for: "all",
    run: async ({ manager }, { params, reader }) => viewFor(manager.view(name(params)), reader),
  },
  loads: { for: "all", run: ({ loads }, { params }) => loads.read(texts(params, "names")) },
  apply: {
    for: "root",
    run: ({ applies }, { params }) =>
      applies.apply(name(params), {
        dryRun: flag(params, "dryRun"),
        within: params["within"] === null ? null : number(params, "within", 1, TIMER_MAX),
      }),
  },
  endApply: {
    for: "root",
    run: ({ applies }, { params }) =>
      done(flag(params, "keep") ? applies.confirm(name(params)) : applies.revert(name(params))),
  },
  start: {
    for: "root",
    // Of a client that is killed the machine goes on to be ready.
    run: ({ manager, autostart }, { params, cancelled, event }) =>
      done(
        autostart.underway(name(params)) ??
          manager.start(name(params), {
            signal: cancelled,
            timeout: timeout(params),
            say: (said) => event({ said }),
            onStatus: (status) => event({ status }),
          }),
      ),
  },
  startEphemeral: {
    for: "root",
    run: async ({ throwAways }, { params, cancelled, event }) => ({
      name: await throwAways.start(
        name(params),
        {
          signal: cancelled,
          timeout: timeout(params),
          say: (said) => event({ said }),
          onStatus: (status) => event({ status }),
        },
        (made) => event({ name: made }),
      ),
    }),
  },
  powerOff: {
    for: "root",
    run: ({ manager }, { params }) => done(manager.powerOff(name(params), flag(params, "wait"), timeout(params))),
  },
  reboot: { for: "root", run: ({ manager }, { params }) => done(manager.reboot(name(params))) },
  terminate: { for: "root", run: ({ manager }, { params }) => done(manager.terminate(name(params))) },
  kill: {
    for: "root",
    run: async ({ manager }, { params }) => {
      const whom = oneOf(params, "whom", ["leader", "all"]);
      return done(killIn(manager.record(name(params)), whom, number(params, "signal", 1, 64)));
    },
  },
  forget: { for: "root", run: async ({ manager }, { params }) => done(manager.forget(name(params))) },
  pause: { for: "root", run: ({ manager }, { params }) => done(manager.pause(name(params), true)) },
  resume: { for: "root", run: ({ manager }, { params }) => done(manager.pause(name(params), false)) },
  wait: {
    for: "all",
    run: ({ manager }, { params, signal }) =>
      done(manager.wait(name(params), oneOf(params, "state", WAIT_STATES), signal)),
  },
  events: {
    for: "all",
    run: async ({ manager }, { signal, event, reader }) => {
      const tell = (told: MachineEvent): void =>
        event({ ...told, view: told.view === null ? null : viewFor(told.view, reader) });
      manager.on("machine", tell);
      await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
      manager.off("machine", tell);
      return null;
    },
  },
  exec: { for: "root", run: exec },
  snapshot: {
    for: "root",
    run: ({ snapshots }, { params, cancelled, event }) =>
      snapshots.take(name(params), textOrNull(params, "snapshot"), text(params, "comment"), {
        ...{ signal: cancelled, progress: (progress) => event({ progress }) },
      }),
  },
  rollback: {
    for: "root",
    run: ({ snapshots }, { params, cancelled, event }) =>
      snapshots.rollBack(
        {
          ...{ name: name(params), snapshot: textOrNull(params, "snapshot") },
          ...{ undo: flag(params, "undo"), restart: flag(params, "restart"), timeout: timeout(params) },
        },
        { signal: cancelled, say: (said) => event({ said }), progress: (progress) => event({ progress }) },
      ),
  },
  pull: { for: "root", run: async (daemon, call) => pull(await daemon.transfers(), call) },
  transfers: {
    for: "all",
    run: async (daemon, { reader, params }) => {
      const transfers = await daemon.transfers();
      const ended = flag(params, "ended") ? transfers.ended() : [];
      return [...ended, ...transfers.list()].map((transfer) => viewTransfer(transfer, reader === "root"));
    },
  },
  cancelTransfer: {
    for: "root",
    run: async (daemon, { params }) => {
      (await daemon.transfers()).cancel(number(params, "id", 0, ID_MAX));
      return null;
    },
  },
  setProperty: {
    for: "root",
    run: async ({ manager }, { params }) => done(manager.setProperties(name(params), texts(params, "properties"))),
  },
};

async function exec({ manager }: Daemon, call: Call<"exec">): Promise<Methods["exec"]["result"]> {
  const { params, signal } = call;
  const machine = name(params);
  const [argv, environment] = [texts(params, "argv"), texts(params, "environment")];
  const user = textOrNull(params, "user") ?? undefined;
  const directory = textOrNull(params, "directory") ?? undefined;
  const fds = payloadStdio(call.takeStdio(oneOf(params, "stdio", ["own", "sent"])));
  const session = manager.exec(machine, { argv, environment, user, directory, term: undefined, fds });
  call.onSignal((number) => session.signal(number));
  signal.addEventListener("abort", () => void session.hangUp(), { once: true });
  return { status: await session.run(() => call.event({ pid: session.pid })) };
}

function name(params: Params): string {
  return text(params, "name");
}

function timeout(params: Params): number | null {
  return params["timeout"] === null ? null : number(params, "timeout", 1, TIMER_MAX);
}

async function done(work: Promise<void>): Promise<null> {
  await work;
  return null;
}

/** @throws BerthError for one that there is not, which may be the name of anything */
export function findMethod(method: string): Method<MethodName> {
  if (Object.hasOwn(METHODS, method)) return METHODS[method as MethodName] as unknown as Method<MethodName>;
  throw new BerthError(`berthd has no method ${JSON.stringify(method)}`, {
    kind: "NotSupported",
    hint: `client and daemon differ: berth daemon stop, then start it from ${INSTALLATION}`,
  });
}
