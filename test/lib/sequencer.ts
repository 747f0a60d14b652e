/** In which order files of tests begin: so that the last workers end together, and none waits for a guest. */
import { basename } from "node:path";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** What takes 40 s and longer, the longest first. In a fresh clone nobody knows that: a file's size says little of it. */
export const LONG = [
  ...["copy", "image-drivers", "launch-faults", "snapshots", "daemon-killed", "pull-oci", "power-cut", "inits"],
  ...["copy-tree", "daemon-machines", "image-changes", "machinectl", "bootstrap", "bootstrap-additions"],
];
export const LONG_GUESTS = ["machine", "stack", "disk-image"];
/** So many files of the integration tests begin before the first guest does: by then there is one to restore (.scripts/test). */
const BEFORE_GUESTS = 6;

export class Sequencer extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const of = (name: string, first: readonly string[]): TestSpecification[] =>
      [...sorted.filter(({ project }) => project.name === name)].sort((a, b) => place(a, first) - place(b, first));
    const together = spread(of("vm", LONG_GUESTS), of("integration", LONG));
    return [...sorted.filter((file) => !together.includes(file)), ...together];
  }
}

/** Where a file is in the list of those that come first. */
function place({ moduleId }: TestSpecification, first: readonly string[]): number {
  const index = first.indexOf(basename(moduleId).replace(/(\.vm)?\.test\.ts$/, ""));
  return index === -1 ? first.length : index;
}

/** One guest runs at a time: the virtual machine's files are spread over the others of their group. */
export function spread<T>(guests: readonly T[], others: readonly T[]): T[] {
  const step = Math.ceil(Math.max(0, others.length - BEFORE_GUESTS) / Math.max(1, guests.length));
  const all = [...others];
  guests.forEach((guest, index) => void all.splice(BEFORE_GUESTS + index * (step + 1), 0, guest));
  return all;
}
