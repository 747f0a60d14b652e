import type { Paths } from "../host/paths.ts";
import type { Launcher } from "./launcher.ts";
import type { Operations } from "./operations.ts";
import type { StateFiles } from "./state-file.ts";

export type Level = "debug" | "info" | "warn" | "error";

/** What the machines of one daemon share. */
export interface Surroundings {
  readonly paths: Paths;
  readonly launcher: Launcher;
  readonly files: StateFiles;
  readonly operations: Operations;
  /** Of the host's boot. */
  readonly bootId: string;
  /** A line about a machine; null: about the daemon. */
  readonly log: (level: Level, machine: string | null, line: string) => void;
  /** Something has changed of what a machine shows. */
  readonly onChange: (machine: string) => void;
}
