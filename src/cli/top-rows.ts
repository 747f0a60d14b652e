import type { MachineLoad } from "../manager/loads.ts";

/** A machine as `top` shows it: what it takes, and how fast since it was looked at before. Null: not known. */
export interface TopRow extends Omit<MachineLoad, "at"> {
  /** Percent of one CPU. */
  readonly cpu: number | null;
  /** Bytes a second. */
  readonly readRate: number | null;
  readonly writeRate: number | null;
  /** `cpu` of the last refreshes, the newest last. */
  readonly history: readonly number[];
}

export const SORT_KEYS = ["cpu", "memory", "tasks", "io", "pressure", "name"] as const;
export type SortKey = (typeof SORT_KEYS)[number];

export interface Order {
  readonly key: SortKey;
  /** The least first; of names the last. */
  readonly inverse: boolean;
}

/** Refreshes that a row remembers. */
const HISTORY_MAX = 60;

/** Keeps what was read last, to tell how fast each machine takes what it takes. */
export class TopRows {
  #last = new Map<string, { readonly load: MachineLoad; readonly row: TopRow }>();

  /** @returns a row a machine, in the order that they come in */
  next(loads: readonly MachineLoad[]): readonly TopRow[] {
    const rows = loads.map((load) => this.#row(load));
    this.#last = new Map(loads.map((load, index) => [load.name, { load, row: rows[index] as TopRow }]));
    return rows;
  }

  #row({ at, ...load }: MachineLoad): TopRow {
    const last = this.#last.get(load.name);
    // Read within the same moment: what is known of before still holds.
    if (last !== undefined && at <= last.load.at) return { ...last.row, state: load.state };
    const before = last?.load.leader === load.leader ? last?.load : undefined;
    const seconds = before === undefined ? null : (at - before.at) / 1000;
    const cpu = rate(before?.cpuUsec, load.cpuUsec, seconds);
    const percent = cpu === null ? null : cpu / 1e4;
    return {
      ...load,
      cpu: percent,
      readRate: rate(before?.ioRead, load.ioRead, seconds),
      writeRate: rate(before?.ioWritten, load.ioWritten, seconds),
      history: [
        ...(before === undefined ? [] : (last?.row.history ?? [])),
        ...(percent === null ? [] : [percent]),
      ].slice(-HISTORY_MAX),
    };
  }
}

/** A second. Null where one is not known, or it counts anew. */
function rate(before: number | null | undefined, now: number | null, seconds: number | null): number | null {
  if (before === null || before === undefined || now === null || seconds === null || now < before) return null;
  return (now - before) / seconds;
}

export function sortRows(rows: readonly TopRow[], { key, inverse }: Order): readonly TopRow[] {
  const sign = inverse ? -1 : 1;
  const byName = (a: TopRow, b: TopRow): number => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
  return [...rows].sort((a, b) =>
    key === "name" ? sign * byName(a, b) : sign * (amount(b, key) - amount(a, key)) || byName(a, b),
  );
}

/** What is not known is less than nothing. */
function amount(row: TopRow, key: Exclude<SortKey, "name">): number {
  switch (key) {
    case "cpu":
      return row.cpu ?? -1;
    case "memory":
      return row.memory ?? -1;
    case "tasks":
      return row.tasks ?? -1;
    case "io":
      return row.readRate === null && row.writeRate === null ? -1 : (row.readRate ?? 0) + (row.writeRate ?? 0);
    case "pressure":
      return Math.max(...Object.values(row.pressure).map((part: number | null) => part ?? -1));
  }
}
