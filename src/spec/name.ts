import { UsageError } from "../errors.ts";
import { quote } from "./quote.ts";

const MACHINE_NAME_MAX = 64;
/** HOST_NAME_MAX of the kernel, see gethostname(2). */
const HOSTNAME_MAX = 64;
/** `.host` is the host itself to machinectl(1); `host` is its object on the bus. */
const RESERVED = new Set([".host", "host"]);

export interface NameFault {
  /** A sentence: `machine name "a..b" may not contain ".."`. */
  readonly what: string;
  /** A valid name made from the wrong one, where there is one. */
  readonly suggestion: string | undefined;
}

/**
 * Says what is wrong with a machine name, undefined when nothing is. The grammar is
 * `[A-Za-z0-9][A-Za-z0-9_.-]{0,63}` without `..` and without a dot or `.mstack` at the end, `.host` and `host` excepted: names
 * become file names, cgroup names, host names and bus objects, so it must be checked wherever one comes in.
 */
export function checkName(name: string): NameFault | undefined {
  const wrong = machineNameFault(name);
  if (wrong === undefined) return undefined;
  return { what: `machine name ${quote(name)} ${wrong}`, suggestion: suggestName(name) };
}

/**
 * For every name that comes in from outside, before anything is done with it. `option`: what else it can be given by.
 * @throws UsageError
 */
export function requireName(name: string, option?: string): void {
  const fault = checkName(name);
  if (fault === undefined) return;
  const { what, suggestion } = fault;
  if (isSnapshotName(name)) throw new UsageError(what, `berth clone ${name} NEW makes an image of a snapshot`);
  const better = suggestion === undefined ? undefined : `${suggestion} would do`;
  throw new UsageError(what, option === undefined ? better : `${option} ${suggestion ?? "NAME"} names it`);
}

/** As images have them where one is read: `web@snap0`. */
function isSnapshotName(name: string): boolean {
  const [image = "", snapshot = "", more] = name.split("@");
  return more === undefined && machineNameFault(image) === undefined && machineNameFault(snapshot) === undefined;
}

function machineNameFault(name: string): string | undefined {
  if (name === "") return "is empty";
  if (RESERVED.has(name)) return "is reserved for the host itself";
  if (name.length > MACHINE_NAME_MAX) return `is longer than ${MACHINE_NAME_MAX} characters`;
  const strange = /[^A-Za-z0-9_.-]/u.exec(name);
  if (strange !== null) return `may not contain ${quote(strange[0])}, only letters, digits, "_", "." and "-"`;
  if (!/^[A-Za-z0-9]/.test(name)) return "must start with a letter or a digit";
  if (name.includes("..")) return 'may not contain ".."';
  if (name.endsWith(".")) return "may not end with a dot";
  if (name.endsWith(".mstack")) return 'may not end with ".mstack", as directories of layers do';
  return undefined;
}

function suggestName(name: string): string | undefined {
  const cleaned = name
    .slice(0, 4 * MACHINE_NAME_MAX)
    .replace(/[^A-Za-z0-9_.-]+/g, "-")
    .replace(/\.\.+/g, ".")
    .replace(/^[^A-Za-z0-9]+/, "")
    .slice(0, MACHINE_NAME_MAX)
    .replace(/[.-]{1,64}$/, "");
  const suggestion = RESERVED.has(cleaned) ? `${cleaned}-1` : cleaned;
  return machineNameFault(suggestion) === undefined ? suggestion : undefined;
}

/**
 * What is wrong with a host name, undefined when nothing is. As systemd's hostname_is_valid(): labels of letters,
 * digits and inner hyphens, joined by single dots, at most 64 characters, no dot at the end.
 */
export function checkHostname(hostname: string): string | undefined {
  if (hostname === "") return "is empty";
  if (hostname.length > HOSTNAME_MAX) return `is longer than ${HOSTNAME_MAX} characters`;
  for (const label of hostname.split(".")) {
    if (label === "") return "has an empty part between its dots";
    if (/[^A-Za-z0-9-]/.test(label)) return `has a part with other characters than letters, digits and "-"`;
    if (label.startsWith("-") || label.endsWith("-")) return 'has a part that starts or ends with "-"';
  }
  return undefined;
}
