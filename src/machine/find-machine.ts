import { BerthError } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import { suggest } from "../spec/nearest.ts";
import { quote } from "../spec/quote.ts";
import { listRecords, type MachineRecord, readRecord } from "./record.ts";

/** The running machine of that name. @throws BerthError that names the nearest one that runs */
export function findMachine(name: string, paths: Paths): MachineRecord {
  const record = readRecord(name, paths);
  if (record !== null) return record;
  const running = listRecords(paths).map((each) => each.name);
  const hint = suggest(name, running) ?? (running.length === 0 ? "no machine runs" : `running: ${running.join(", ")}`);
  throw new BerthError(`no machine ${quote(name)} is running`, { hint });
}
