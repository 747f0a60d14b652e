import type { RlimitName } from "../plan/facts.ts";
import type { ResourceLimit } from "../spec/machine-spec.ts";
import { option, type Row, section } from "./setting.ts";
import { COUNT, type LimitUnit, MICROSECONDS, NICE, resourceLimit, SECONDS, SIZE } from "./values-limits.ts";

/** The resources of setrlimit(2), in the order of systemd.nspawn(5). */
const RESOURCES: Readonly<Record<RlimitName, LimitUnit>> = {
  cpu: SECONDS,
  fsize: SIZE,
  data: SIZE,
  stack: SIZE,
  core: SIZE,
  rss: SIZE,
  nofile: COUNT,
  as: SIZE,
  nproc: COUNT,
  memlock: SIZE,
  locks: COUNT,
  sigpending: COUNT,
  msgqueue: SIZE,
  nice: NICE,
  rtprio: COUNT,
  rttime: MICROSECONDS,
};

/** LimitCPU= to LimitRTTIME= of [Exec]: one row a resource. */
export const LIMITS = section("Exec", Object.fromEntries(Object.entries(RESOURCES).map(limitRow)));

function limitRow([name, unit]: [string, LimitUnit]): [`Limit${string}`, Row<ResourceLimit>] {
  const resource = name.toUpperCase();
  return [
    `Limit${resource}`,
    {
      takes: "VALUE|SOFT:HARD",
      help: `resource limit RLIMIT_${resource} of PID 1, ${unit.help}; see setrlimit(2)`,
      parse: resourceLimit(name as RlimitName, unit),
      options: [option("--rlimit", resource)],
      safe: false,
      state: "in effect",
    },
  ];
}
