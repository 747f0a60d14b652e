import { escapeElement } from "../bus/names.ts";

/** Names and paths on the bus, as systemd has them. */
export const MACHINE1 = "org.freedesktop.machine1";
export const IMPORT1 = "org.freedesktop.import1";
export const SYSTEMD1 = "org.freedesktop.systemd1";
export const BERTH1 = "org.berth.Manager1";
/** An interface of daemons, and no name. */
export const LOG_CONTROL1 = "org.freedesktop.LogControl1";

export const MACHINE1_PATH = "/org/freedesktop/machine1";
export const IMPORT1_PATH = "/org/freedesktop/import1";
export const SYSTEMD1_PATH = "/org/freedesktop/systemd1";
export const BERTH1_PATH = "/org/berth/Manager1";
export const LOG_CONTROL1_PATH = "/org/freedesktop/LogControl1";

export function machinePath(name: string): string {
  return `${MACHINE1_PATH}/machine/${escapeElement(name)}`;
}

export function imagePath(name: string): string {
  return `${MACHINE1_PATH}/image/${escapeElement(name)}`;
}

export function transferPath(id: number): string {
  return `${IMPORT1_PATH}/transfer/_${id}`;
}

/** How the bus says "not known", and "no limit". */
export const NONE = 2n ** 64n - 1n;
