import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BusMachine } from "./bus-machine.ts";
import type { Machines } from "./machines.ts";

/** Where systemd-machined tells the host's programs of its machines without a bus: `systemctl -M`, `journalctl -M`, `loginctl -M` look there. */
export const RUNTIME_FILES = "/run/systemd/machines";
const SERVICE = "SERVICE=berth";

/** Keeps a file for each machine there. Those of an earlier daemon whose machines have ended meanwhile are removed. */
export function keepRuntimeFiles(machines: Machines, directory: string, log: (line: string) => void): void {
  const write = (machine: BusMachine): void => {
    try {
      mkdirSync(directory, { recursive: true, mode: 0o755 });
      const path = join(directory, `.#${machine.name}`);
      writeFileSync(path, textOf(machine), { mode: 0o644 });
      renameSync(path, join(directory, machine.name));
    } catch (error) {
      log(`${join(directory, machine.name)} could not be written: ${(error as Error).message}`);
    }
  };
  const remove = (name: string): void => {
    try {
      rmSync(join(directory, name), { force: true });
    } catch (error) {
      log(`${join(directory, name)} could not be removed: ${(error as Error).message}`);
    }
  };
  const all = machines.list().filter((machine) => machine.class !== "host" && !machine.foreign);
  for (const name of ours(directory)) if (!all.some((machine) => machine.name === name)) remove(name);
  for (const machine of all) write(machine);
  machines.watch({
    onNew(name) {
      const machine = machines.find(name);
      // Of others nobody would remove them after this daemon.
      if (machine !== undefined && !machine.foreign) write(machine);
    },
    onRemoved: remove,
  });
}

/** As machined writes it, which says that it is for its own programs alone. */
function textOf({ name, id, unit, leader, root, class: what, since, sinceMonotonic }: BusMachine): string {
  const fields = [
    "# This is private data. Do not parse.",
    `NAME=${name}`,
    ...(unit === "" ? [] : [`SCOPE=${unit}`]),
    SERVICE,
    ...(root === "" ? [] : [`ROOT=${escaped(root)}`]),
    ...(id.length === 0 ? [] : [`ID=${uuid(id)}`]),
    `LEADER=${leader}`,
    `CLASS=${what}`,
    `REALTIME=${since}`,
    `MONOTONIC=${sinceMonotonic}`,
  ];
  return `${fields.join("\n")}\n`;
}

/** As a shell would read it. */
function escaped(text: string): string {
  return /^[A-Za-z0-9/_.-]+$/.test(text) ? text : `"${text.replaceAll(/["\\$`]/g, "\\$&")}"`;
}

function uuid(id: Buffer): string {
  return id.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

function ours(directory: string): readonly string[] {
  try {
    // With a colon they are machined's links to units.
    return readdirSync(directory).filter((name) => !name.includes(":") && isOurs(join(directory, name)));
  } catch {
    return []; // nobody has written there yet
  }
}

function isOurs(path: string): boolean {
  try {
    return readFileSync(path, "utf8").split("\n").includes(SERVICE);
  } catch {
    return false; // whoever wrote it has just removed it
  }
}
