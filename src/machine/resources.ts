import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** What a machine takes just now. Null: not known, as the host hands that controller on to nobody (cgroups v2). */
export interface Usage {
  /** Bytes. */
  readonly memory: number | null;
  readonly cpuUsec: number | null;
  /** Processes and threads. */
  readonly tasks: number | null;
}

/** Limits that are in effect. Null: none, or not known. */
export interface Limits {
  /** Bytes. */
  readonly memoryMax: number | null;
  readonly memoryHigh: number | null;
  readonly memorySwapMax: number | null;
  readonly tasksMax: number | null;
  /** Percent of one CPU. */
  readonly cpuQuota: number | null;
  readonly cpuWeight: number | null;
  readonly ioWeight: number | null;
  /** `0-2,4` */
  readonly allowedCpus: string | null;
}

export const NO_LIMITS: Limits = {
  ...{ memoryMax: null, memoryHigh: null, memorySwapMax: null, tasksMax: null },
  ...{ cpuQuota: null, cpuWeight: null, ioWeight: null, allowedCpus: null },
};

/** Percent of the last ten seconds in which some of its processes waited for it (PSI). Null: the host does not count that. */
export interface Pressure {
  readonly cpu: number | null;
  readonly memory: number | null;
  readonly io: number | null;
}

/** What changes from moment to moment. */
export interface Load extends Usage, Pick<Limits, "memoryMax" | "tasksMax" | "cpuQuota"> {
  /** Bytes from and to disks, since it was started. */
  readonly ioRead: number | null;
  readonly ioWritten: number | null;
  readonly pressure: Pressure;
}

export const NO_LOAD: Load = {
  ...{ memory: null, cpuUsec: null, tasks: null, memoryMax: null, tasksMax: null, cpuQuota: null },
  ...{ ioRead: null, ioWritten: null, pressure: { cpu: null, memory: null, io: null } },
};

/** @param cgroup of the machine */
export function readLoad(cgroup: string): Load {
  const io = text(cgroup, "io.stat");
  return {
    ...readUsage(cgroup),
    memoryMax: number(cgroup, "memory.max"),
    tasksMax: number(cgroup, "pids.max"),
    cpuQuota: cpuQuota(cgroup),
    ioRead: io === null ? null : sumOf(io, "rbytes"),
    ioWritten: io === null ? null : sumOf(io, "wbytes"),
    pressure: { cpu: pressure(cgroup, "cpu"), memory: pressure(cgroup, "memory"), io: pressure(cgroup, "io") },
  };
}

/** Over all disks: `8:0 rbytes=4096 wbytes=0 ...`. */
function sumOf(io: string, key: string): number {
  return [...io.matchAll(new RegExp(`\\b${key}=(\\d+)`, "g"))].reduce((sum, [, bytes]) => sum + Number(bytes), 0);
}

function pressure(cgroup: string, resource: keyof Pressure): number | null {
  const some = /^some avg10=([\d.]+)/m.exec(text(cgroup, `${resource}.pressure`) ?? "")?.[1];
  return some === undefined ? null : Number(some);
}

/** @param cgroup of the machine */
export function readUsage(cgroup: string): Usage {
  const cpu = /^usage_usec (\d+)$/m.exec(text(cgroup, "cpu.stat") ?? "")?.[1];
  return {
    memory: number(cgroup, "memory.current"),
    cpuUsec: cpu === undefined ? null : Number(cpu),
    tasks: number(cgroup, "pids.current") ?? countThreads(cgroup),
  };
}

export function readLimits(cgroup: string): Limits {
  return {
    memoryMax: number(cgroup, "memory.max"),
    memoryHigh: number(cgroup, "memory.high"),
    memorySwapMax: number(cgroup, "memory.swap.max"),
    tasksMax: number(cgroup, "pids.max"),
    cpuQuota: cpuQuota(cgroup),
    cpuWeight: number(cgroup, "cpu.weight"),
    ioWeight: ioWeight(cgroup),
    allowedCpus: text(cgroup, "cpuset.cpus") || null,
  };
}

function cpuQuota(cgroup: string): number | null {
  const [quota, period] = (text(cgroup, "cpu.max") ?? "max").split(" ").map(Number);
  return quota && period ? (quota / period) * 100 : null;
}

function ioWeight(cgroup: string): number | null {
  const weight = /^default (\d+)$/m.exec(text(cgroup, "io.weight") ?? "")?.[1];
  return weight === undefined ? null : Number(weight);
}

/** Cgroups that are looked into: a machine may make as many as it likes. */
const CGROUPS_MAX = 200;

/** Where the host counts no tasks. Null: there are too many cgroups to look into. */
function countThreads(cgroup: string): number | null {
  const open = [cgroup];
  let count = 0;
  for (let looked = 0; open.length > 0; looked++) {
    if (looked === CGROUPS_MAX) return null;
    const directory = open.pop() ?? "";
    count += (text(directory, "cgroup.threads") ?? "").split("\n").filter(Boolean).length;
    open.push(...childrenOf(directory));
  }
  return count;
}

function childrenOf(directory: string): readonly string[] {
  try {
    const entries = readdirSync(directory, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(directory, name));
  } catch {
    return []; // it has just gone
  }
}

/** Null for `max` as well. */
function number(cgroup: string, file: string): number | null {
  const value = text(cgroup, file);
  return value !== null && /^\d+$/.test(value) ? Number(value) : null;
}

function text(cgroup: string, file: string): string | null {
  try {
    return readFileSync(join(cgroup, file), "utf8").trim();
  } catch {
    return null;
  }
}
