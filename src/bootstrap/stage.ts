/**
 * What a bootstrap does, in order. `share` is its part of the whole time in percent, measured on a quiet machine with
 * two cores; it only moves the bar.
 */
export const STAGES = [
  { name: "wait", label: "waiting for another bootstrap of the same tree", share: 0 },
  { name: "index", label: "reading package indexes", share: 15 },
  { name: "download", label: "downloading essential packages", share: 6 },
  { name: "extract", label: "extracting essential packages", share: 20 },
  { name: "essential", label: "installing essential packages", share: 22 },
  { name: "install", label: "installing the other packages", share: 28 },
  { name: "clean", label: "cleaning up", share: 3 },
  { name: "unload", label: "writing the tree to the disk", share: 3 },
  { name: "dress", label: "adding files and users", share: 0 },
  { name: "commands", label: "running the recipe's commands", share: 0 },
  { name: "finish", label: "finishing the tree", share: 0 },
  { name: "copy", label: "copying the tree", share: 3 },
] as const;

export type StageName = (typeof STAGES)[number]["name"];

export interface ProgressEvent {
  readonly stage: StageName;
  readonly label: string;
  /** Packages done in this stage, and how many there are; null while that is not known or where none are counted. */
  readonly done: number;
  readonly total: number | null;
  /** The package at hand, `""` where there is none. Text from outside: escape it. */
  readonly item: string;
  /** Of the whole bootstrap, 0 to 1, never falling. */
  readonly fraction: number;
}

export type OnProgress = (event: ProgressEvent) => void;

/** `part` is how much of the stage is done, 0 to 1. */
export function makeEvent(
  name: StageName,
  { done = 0, total = null, item = "", part = 0 }: Partial<Omit<ProgressEvent, "stage"> & { part: number }> = {},
): ProgressEvent {
  const index = STAGES.findIndex((stage) => stage.name === name);
  const before = STAGES.slice(0, index).reduce((sum, stage) => sum + stage.share, 0);
  const { label, share } = STAGES[index] ?? STAGES[0];
  return { stage: name, label, done, total, item, fraction: (before + share * Math.min(1, part)) / 100 };
}
