import { posix } from "node:path";
import type { MethodCall } from "../bus/method-call.ts";
import { bindInto } from "../copy/bind.ts";
import { copyFrom, copyTo } from "../copy/copy.ts";
import type { MachineRecord } from "../machine/record.ts";
import { allowManaging, invalid, notSupported } from "./access.ts";
import type { BusMachine } from "./bus-machine.ts";
import type { Services } from "./services.ts";
import { whileCalled } from "./while-called.ts";

/** Of CopyToMachineWithFlags: what is there already is replaced. */
const REPLACE = 1n;

export async function copyFiles(
  call: MethodCall,
  machine: BusMachine,
  direction: "from" | "to",
  { from, to, flags }: { readonly from: string; readonly to: string; readonly flags: bigint },
  { paths }: Services,
): Promise<void> {
  if ((flags & ~REPLACE) !== 0n) throw invalid(`Unknown flags 0x${flags.toString(16)}`);
  requireAbsolute(from, "Source");
  const target = to === "" ? from : to;
  requireAbsolute(target, "Destination");
  await allowManaging(call, machine, "copy", { src: from, dest: target });
  const record = requireRecord(machine);
  const copy = direction === "from" ? copyFrom : copyTo;
  await whileCalled(call, async (signal) => {
    await copy(record, from, target, { replace: flags === REPLACE, signal }, paths);
  });
}

export async function bindFile(
  call: MethodCall,
  machine: BusMachine,
  request: {
    readonly source: string;
    readonly target: string;
    readonly readOnly: boolean;
    readonly mkdir: boolean;
  },
  { paths }: Services,
): Promise<void> {
  const { source, readOnly, mkdir } = request;
  const target = request.target === "" ? source : request.target;
  for (const [path, what] of [
    [source, "Source"],
    [target, "Destination"],
  ] as const)
    if (!posix.isAbsolute(path) || posix.normalize(path) !== path)
      throw invalid(`${what} path must be absolute and not contain ../.`);
  await allowManaging(call, machine, "bind", { src: source, dest: target });
  const record = requireRecord(machine);
  // As systemd-machined does it: who owns what on the host does so inside.
  await whileCalled(call, (signal) =>
    bindInto(record, source, target, { readOnly, mkdir, owners: "noidmap", signal }, paths),
  );
}

function requireAbsolute(path: string, what: string): void {
  if (!posix.isAbsolute(path)) throw invalid(`${what} must be absolute.`);
}

function requireRecord({ name, class: what, record }: BusMachine): MachineRecord {
  if (record !== null) return record;
  throw notSupported(
    what === "host" ? "The host is no container." : `Nothing is known of the files of machine ${name}.`,
  );
}
