import type { ErrorKind } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import type { SnapshotInfo } from "../image/snapshots/snapshot.ts";
import type { Proxies } from "../transfer/proxies.ts";
import type { ImageFiles } from "../transfer/pull-image.ts";
import type { Outcome, TransferType, Verify } from "../transfer/transfer.ts";
import type { Applied } from "./applies.ts";
import type { RollbackRequest, RolledBack } from "./image-snapshots.ts";
import type { MachineLoad } from "./loads.ts";
import type { MachineDetails } from "./machine-details.ts";
import type { MachineView } from "./machine-view.ts";
import type { MachineEvent } from "./manager.ts";

/**
 * What clients and berthd say to each other over its own socket: lines of JSON, each a Request, Hint or Reply. Reading is
 * open to every user of the host, everything else to root (SO_PEERCRED). A request is given up when its connection ends.
 */
export const SOCKET = "berthd.sock";
/** Held by the daemon of a root as long as it lives. */
export const LOCK = "berthd.lock";
/** Exit status of a daemon that finds it held: EX_TEMPFAIL of sysexits.h. */
export const EXIT_BUSY = 75;

/** Of every method: what it takes, what it tells while it works, and what comes of it. */
export interface Methods {
  ping: { params: Nothing; event: never; result: null };
  /** The daemon itself. */
  status: { params: Nothing; event: never; result: DaemonStatus };
  /** Ends the daemon. Answers with the transfers that it breaks off by that. */
  quit: { params: Timeout & { readonly machines: boolean }; event: never; result: readonly TransferView[] };
  list: { params: { readonly all: boolean }; event: never; result: readonly MachineView[] };
  show: { params: Named; event: never; result: MachineDetails };
  view: { params: Named; event: never; result: MachineView };
  /** Of those of these names that run; none: of all. */
  loads: { params: { readonly names: readonly string[] }; event: never; result: readonly MachineLoad[] };
  /** `within`: ms in which it has to be confirmed; null: it has not to be. */
  apply: {
    params: Named & { readonly dryRun: boolean; readonly within: number | null };
    event: never;
    result: Applied;
  };
  /** What was applied last stays, or is taken back. */
  endApply: { params: Named & { readonly keep: boolean }; event: never; result: null };
  start: { params: Named & Timeout; event: StartEvent; result: null };
  /** A throw-away copy of the machine, whose name is made. */
  startEphemeral: { params: Named & Timeout; event: StartEvent | EphemeralEvent; result: { readonly name: string } };
  powerOff: { params: Named & Timeout & { readonly wait: boolean }; event: never; result: null };
  reboot: { params: Named; event: never; result: null };
  terminate: { params: Named; event: never; result: null };
  kill: { params: Named & { readonly whom: KillWhom; readonly signal: number }; event: never; result: null };
  /** A failure of a machine, whose image has gone. */
  forget: { params: Named; event: never; result: null };
  pause: { params: Named; event: never; result: null };
  resume: { params: Named; event: never; result: null };
  wait: { params: Named & { readonly state: WaitState }; event: never; result: null };
  events: { params: Nothing; event: MachineEvent; result: null };
  exec: { params: ExecParams; event: ExecEvent; result: ExecResult };
  snapshot: { params: SnapshotParams; event: CopyEvent; result: SnapshotInfo };
  rollback: { params: RollbackRequest; event: RollbackEvent; result: RolledBack };
  /** A download, which goes on when the caller is gone, until it is cancelled or the daemon ends. */
  pull: { params: PullParams; event: PullEvent; result: PullResult };
  transfers: { params: { readonly ended: boolean }; event: never; result: readonly TransferView[] };
  cancelTransfer: { params: { readonly id: number }; event: never; result: null };
  setProperty: { params: Named & { readonly properties: readonly string[] }; event: never; result: null };
}

export type MethodName = keyof Methods;
type Nothing = Readonly<Record<never, never>>;

interface Named {
  readonly name: string;
}
interface Timeout {
  /** ms; null: as the machine's settings say. */
  readonly timeout: number | null;
}

export type KillWhom = "leader" | "all";
export const WAIT_STATES = ["running", "stopped", "paused", "failed"] as const;
export type WaitState = (typeof WAIT_STATES)[number];

export interface DaemonStatus {
  readonly pid: number;
  /** An address that machinectl can use. */
  readonly bus: string | null;
  readonly socket: string;
  /** That all of it is below; null where parts are in places of their own. */
  readonly root: string | null;
  readonly version: string;
  /** How many run. */
  readonly machines: number;
}

export interface EphemeralEvent {
  /** Of the machine that is about to boot. */
  readonly name: string;
}

export type StartEvent =
  /** Of its init; see sd_notify(3), STATUS=. */
  | { readonly status: string }
  /** For the user: a warning, what is weaker than the default. */
  | { readonly said: string };

export interface SnapshotParams extends Named {
  /** Null: a name is made. */
  readonly snapshot: string | null;
  readonly comment: string;
}

export interface CopyEvent {
  /** 0 to 1, where files are copied. */
  readonly progress: number;
}

export type RollbackEvent =
  | CopyEvent
  /** For the user: what a start of it says. */
  | { readonly said: string };

export interface ExecParams {
  readonly name: string;
  readonly argv: readonly string[];
  /** Null: root. */
  readonly user: string | null;
  /** Null: `/`, or the user's home. */
  readonly directory: string | null;
  /** `NAME=VALUE`. */
  readonly environment: readonly string[];
  /** The caller's own 0 to 2, which are taken from it; or three that come with the request. None may be a terminal. */
  readonly stdio: "own" | "sent";
}

export interface ExecEvent {
  /** On the host. */
  readonly pid: number;
}

export interface ExecResult {
  /** 128+N: killed by signal N. */
  readonly status: number;
}

/** An archive or a disk image at an address, an image of a remote, or one of a registry. */
export type PullKind = "tar" | "raw" | "image" | "oci";

export interface PullParams extends Named {
  readonly kind: PullKind;
  readonly from: string;
  readonly readOnly: boolean;
  readonly replace: boolean;
  readonly verify: Verify;
  readonly keepDownload: boolean;
  /** Of one of a registry, as Debian calls them. */
  readonly architecture: string | null;
  /** Of that: what keeps it; null: what suits the file system best. */
  readonly driver: "directory" | "stack" | null;
  /** Of an image, which the client has looked up: reading all that a server has takes too long for the daemon. */
  readonly files: ImageFiles | null;
  /** Those of the client's environment. */
  readonly proxies: Proxies;
  /** For its end; false: the answer is that it has begun. */
  readonly wait: boolean;
}

export type PullEvent =
  | { readonly id: number }
  /** 0 to 1. */
  | { readonly progress: number }
  /** For the user. */
  | { readonly warning: string };

export interface PullResult {
  readonly id: number;
}

export interface TransferView {
  readonly id: number;
  readonly type: TransferType;
  /** The image. */
  readonly local: string;
  /** Where it comes from or goes to; empty: an fd. Null: only root may know. */
  readonly remote: string | null;
  /** 0 to 1. */
  readonly progress: number;
  readonly state: "running" | Outcome;
  readonly verify: Verify;
  /** What it said last; of one that has failed, why. Null: only root may know. */
  readonly status: string | null;
}

export interface Request {
  readonly id: number;
  readonly method: string;
  readonly params: Readonly<Record<string, unknown>>;
  /** The client's. */
  readonly places?: Places | undefined;
}

/** Where settings and machines are. */
export type Places = Pick<Paths, "etc" | "machines">;

/** About a request that is being worked on. */
export interface Hint {
  readonly id: number;
  /** For the command of `exec`. */
  readonly signal?: number;
  /** Nobody waits for it any more. */
  readonly cancel?: true;
  /** The same should the connection end; who waits can't say so meanwhile. */
  readonly cancelIfGone?: boolean;
}

export type Reply =
  | { readonly id: number; readonly event: unknown }
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: WireError };

export interface WireError {
  readonly message: string;
  readonly hint: string | null;
  readonly kind: ErrorKind | null;
  readonly exitStatus: number;
}
