import { RLIMIT_NAMES, type RlimitName } from "../plan/facts.ts";

/** First column of /proc/self/limits, proc_pid_limits(5); the units are those of prlimit(2). The columns have fixed widths. */
const ROWS: Readonly<Record<RlimitName, string>> = {
  cpu: "Max cpu time",
  fsize: "Max file size",
  data: "Max data size",
  stack: "Max stack size",
  core: "Max core file size",
  rss: "Max resident set",
  nproc: "Max processes",
  nofile: "Max open files",
  memlock: "Max locked memory",
  as: "Max address space",
  locks: "Max file locks",
  sigpending: "Max pending signals",
  msgqueue: "Max msgqueue size",
  nice: "Max nice priority",
  rtprio: "Max realtime priority",
  rttime: "Max realtime timeout",
};

/** Hard limits; null = unlimited. A row that is not there counts as unlimited. */
export function parseHardLimits(text: string): Readonly<Record<RlimitName, number | null>> {
  const hard = new Map(text.split("\n").map((line) => [line.slice(0, 25).trim(), line.slice(47, 67).trim()]));
  const entries = RLIMIT_NAMES.map((name) => [name, limit(hard.get(ROWS[name]))] as const);
  return Object.fromEntries(entries) as Record<RlimitName, number | null>;
}

function limit(digits: string | undefined): number | null {
  if (digits === undefined || !/^\d+$/.test(digits)) return null;
  const exact = BigInt(digits);
  // Above 2^53 the nearest double may be higher than the limit, and asking for more than the hard limit is EPERM:
  // round down, by the distance of doubles just below 2^64.
  return Number(exact > Number.MAX_SAFE_INTEGER ? exact - (exact % 2048n) : exact);
}
