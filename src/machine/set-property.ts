import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { BerthError, UsageError } from "../errors.ts";
import { setUnitProperty } from "../exec/units.ts";
import { nearest } from "../spec/nearest.ts";
import { printable } from "../spec/quote.ts";
import { SysError } from "../sys/errno.ts";
import type { MachineRecord } from "./record.ts";

/** A property of systemd.resource-control(5), as the file of cgroup v2 that holds it. */
interface Property {
  readonly file: string;
  /** Undefined: the value is none. */
  readonly convert: (value: string) => string | undefined;
  readonly expected: string;
}

const SIZE: Omit<Property, "file"> = { convert: bytes, expected: "bytes with K, M, G or T, or infinity" };
const WEIGHT: Omit<Property, "file"> = { convert: weight, expected: "1 to 10000" };

const PROPERTIES: Readonly<Record<string, Property>> = {
  MemoryMax: { file: "memory.max", ...SIZE },
  MemoryHigh: { file: "memory.high", ...SIZE },
  MemoryLow: { file: "memory.low", ...SIZE },
  MemoryMin: { file: "memory.min", ...SIZE },
  MemorySwapMax: { file: "memory.swap.max", ...SIZE },
  TasksMax: { file: "pids.max", convert: count, expected: "a number, or infinity" },
  CPUQuota: { file: "cpu.max", convert: quota, expected: "a percentage such as 150%" },
  CPUWeight: { file: "cpu.weight", ...WEIGHT },
  IOWeight: { file: "io.weight", ...WEIGHT },
  AllowedCPUs: { file: "cpuset.cpus", convert: list, expected: "a list such as 0-2,4" },
};

export const PROPERTY_NAMES: readonly string[] = Object.keys(PROPERTIES);

/**
 * Sets resource controls of a machine that runs: through systemd where it has a unit of systemd's, which would undo them
 * otherwise. All are read before one is set. @throws BerthError
 */
export async function setProperties(machine: MachineRecord, assignments: readonly string[]): Promise<void> {
  const parsed = assignments.map((assignment) => parse(assignment));
  for (const { key, value, property } of parsed) {
    if (machine.unit === null) await write(machine, key, property, property.convert(value) ?? "");
    else await setUnitProperty(machine.unit, key, value, { aborted: new AbortController().signal });
  }
}

function parse(assignment: string): { key: string; value: string; property: Property } {
  const [, key, value] = /^([A-Za-z]+)=(.*)$/s.exec(assignment) ?? [];
  if (key === undefined || value === undefined)
    throw new UsageError(`${printable(assignment)} is no property, expected NAME=VALUE such as MemoryMax=1G`);
  const property = Object.hasOwn(PROPERTIES, key) ? PROPERTIES[key] : undefined;
  if (property === undefined) {
    const near = nearest(key, Object.keys(PROPERTIES));
    throw new UsageError(
      `${key} is no property of a machine that runs`,
      near === undefined ? `there are: ${Object.keys(PROPERTIES).join(" ")}` : `did you mean ${near}?`,
    );
  }
  if (property.convert(value) === undefined)
    throw new UsageError(`${key}=${printable(value)}: expected ${property.expected}`);
  return { key, value, property };
}

/** To lower memory.max or memory.high takes the kernel as long as it takes to free so much. */
async function write({ name, cgroup }: MachineRecord, key: string, { file }: Property, text: string): Promise<void> {
  const path = join(cgroup, file);
  if (!existsSync(path))
    throw new BerthError(`${key} can't be set: machine ${name} has no ${file} in its cgroup`, {
      kind: "NotSupported",
      hint: "berth doctor says which controllers this host hands on to machines, and why not all",
    });
  try {
    await writeFile(path, text);
  } catch (error) {
    throw error instanceof SysError ? error : new BerthError(`${key} can't be set: ${(error as Error).message}`);
  }
}

function bytes(value: string): string | undefined {
  if (value === "infinity") return "max";
  const [, digits, unit = ""] = /^([0-9]{1,15})([KMGT]?)$/.exec(value) ?? [];
  return digits === undefined ? undefined : String(BigInt(digits) << BigInt(10 * " KMGT".indexOf(unit || " ")));
}

function count(value: string): string | undefined {
  if (value === "infinity") return "max";
  return /^[1-9][0-9]{0,8}$/.test(value) ? value : undefined;
}

/** Of a period of 100 ms, in us. */
function quota(value: string): string | undefined {
  const [, percent] = /^([1-9][0-9]{0,5})%$/.exec(value) ?? [];
  if (value === "" || value === "infinity") return "max 100000";
  return percent === undefined ? undefined : `${Number(percent) * 1000} 100000`;
}

function weight(value: string): string | undefined {
  return /^[1-9][0-9]{0,4}$/.test(value) && Number(value) <= 10_000 ? value : undefined;
}

function list(value: string): string | undefined {
  return /^[0-9]+(-[0-9]+)?([, ][0-9]+(-[0-9]+)?)*$/.test(value) ? value : undefined;
}
