/** Letters of a word that may be the beginning of the one that is meant. */
const BEGUN_MIN = 3;

/**
 * The candidate a mistyped word most likely stands for, or undefined when none is close: the only one that begins so, or else at most a
 * third of the word's letters may differ. Case does not count. Work is bounded by the candidates' lengths, not the word's.
 */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  const all = [...candidates];
  const [begun, other] = all.filter(
    (each) => each.length >= word.length && each.toLowerCase().startsWith(word.toLowerCase()),
  );
  return word.length >= BEGUN_MIN && other === undefined && begun !== undefined ? begun : closest(word, all);
}

function closest(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let limit = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - word.length) >= limit) continue;
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase(), limit);
    if (distance < limit) [best, limit] = [candidate, distance];
  }
  return best;
}

/** `did you mean X?`, for Problem.hint; undefined when nothing is close. */
export function suggest(word: string, candidates: Iterable<string>): string | undefined {
  const found = nearest(word, candidates);
  return found === undefined ? undefined : `did you mean ${found}?`;
}

/** Insertions, deletions, replacements and swaps of neighbours that turn `from` into `to`; `limit` for that or more. */
function editDistance(from: string, to: string, limit: number): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let row = 1; row <= from.length; row++) {
    const current = [row];
    let least = row;
    for (let column = 1; column <= to.length; column++) {
      const same = from[row - 1] === to[column - 1];
      const swapped = row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1];
      let distance = (last[column - 1] ?? limit) + (same ? 0 : 1);
      distance = Math.min(distance, (last[column] ?? limit) + 1, (current[column - 1] ?? limit) + 1);
      if (swapped) distance = Math.min(distance, (beforeLast[column - 2] ?? limit) + 1);
      current.push(distance);
      least = Math.min(least, distance);
    }
    if (least >= limit) return limit;
    [beforeLast, last] = [last, current];
  }
  return last[to.length] ?? limit;
}
