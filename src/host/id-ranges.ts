/** `count` ids from `start` on. */
export interface IdRange {
  readonly start: number;
  readonly count: number;
}

/** Ids a machine takes, and the multiple its range starts at. */
export const RANGE_SIZE = 65536;
/** First and last base that PrivateUsers=pick may choose, systemd's "container UID" range (see its UIDS-GIDS text). */
export const PICK_WINDOW = { first: 524288, last: 1878982656 } as const;

/** /proc/PID/uid_map, user_namespaces(7): the ids that exist in our user namespace. */
export function parseIdMap(text: string): readonly IdRange[] {
  return text.split("\n").flatMap((line) => {
    const [start, , count] = line.trim().split(/\s+/);
    return count === undefined ? [] : [{ start: Number(start), count: Number(count) }];
  });
}

/** subuid(5): `user:start:count`, comments and broken lines left out as shadow does. */
export function parseSubordinateIds(text: string): readonly IdRange[] {
  return text.split("\n").flatMap((line) => {
    const [, start, count] = /^[^#:][^:]*:(\d+):(\d+)\s*$/.exec(line) ?? [];
    return start === undefined || count === undefined ? [] : [{ start: Number(start), count: Number(count) }];
  });
}

/** How many ranges the pick window still has: wholly inside `available`, touched by none of `taken`, and no machine's. */
export function countFreeRanges(
  available: readonly IdRange[],
  taken: readonly IdRange[],
  machines: ReadonlySet<number> = new Set(),
): number {
  let free = 0;
  for (let base: number = PICK_WINDOW.first; base <= PICK_WINDOW.last; base += RANGE_SIZE) {
    const end = base + RANGE_SIZE;
    if (machines.has(base)) continue;
    const exists = available.some(({ start, count }) => start <= base && end <= start + count);
    if (exists && !taken.some(({ start, count }) => start < end && base < start + count)) free++;
  }
  return free;
}
