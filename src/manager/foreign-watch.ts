import { closeSync, type FSWatcher, watch as watchFiles } from "node:fs";
import { type ProcessId, startTimeOf } from "../host/process-id.ts";
import { watch } from "../sys/poll.ts";
import { pidfdOpen } from "../sys/processes.ts";

/** Tells when something changes of a machine that somebody else supervises: its record is written, or its PID 1 ends. */
export class ForeignWatch {
  readonly #onChange: () => void;
  readonly #files: FSWatcher | undefined;
  #leader: ProcessId | undefined;
  #unwatchLeader: () => void = () => undefined;

  constructor(directory: string, onChange: () => void) {
    this.#onChange = onChange;
    try {
      this.#files = watchFiles(directory, onChange);
      this.#files.on("error", onChange);
    } catch {
      // It has just gone, which is seen where it was; or there are too many watches.
    }
  }

  /** Its PID 1 as it is now; undefined: not known, or none. */
  follow(leader: ProcessId | undefined): void {
    const { pid, startTime } = this.#leader ?? {};
    if (leader?.pid === pid && leader?.startTime === startTime) return;
    this.#unwatchLeader();
    this.#leader = leader;
    if (leader !== undefined) this.#unwatchLeader = whenEnded(leader, this.#onChange);
  }

  close(): void {
    this.#files?.close();
    this.#unwatchLeader();
  }
}

/** Returns what gives it up. */
function whenEnded({ pid, startTime }: ProcessId, onEnd: () => void): () => void {
  let pidfd: number;
  try {
    pidfd = pidfdOpen(pid);
  } catch {
    onEnd();
    return () => undefined;
  }
  let isOpen = true;
  const close = (): void => {
    if (!isOpen) return;
    isOpen = false;
    unwatch();
    closeSync(pidfd);
  };
  const unwatch = watch(pidfd, { readable: true }, () => {
    close(); // it stays readable
    onEnd();
  });
  if (startTimeOf(pid) !== startTime) onEnd();
  return close;
}
