/**
 * The rules about which file may import what, as data, and the check of them over import lines. Pure: give it
 * texts by path (`src/plan/build.ts`), it answers complaints. test/unit/structure.test.ts runs it on src/.
 *
 * A new directory in src/ needs a row in MAY_IMPORT; a rule is changed here, with its reason.
 */
import { dirname, join } from "node:path/posix";

/**
 * What each directory of src/ may import besides itself and errors.ts. The arrows of the design:
 * cli, dbus, daemon -> manager -> copy, transfer, bootstrap -> image -> machine, supervise -> exec -> host -> stage -> sys;  config, spec -> plan.
 */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  spec: ["config"],
  config: ["spec"],
  plan: ["spec", "config"],
  sys: [],
  // Who runs programs by it: launches, and the host's own that read what is not trusted.
  stage: ["sys", "plan"],
  host: ["stage", "sys", "plan", "spec", "config"],
  exec: ["stage", "sys", "host", "plan", "spec"],
  supervise: ["exec", "sys", "host", "plan", "spec"],
  machine: ["supervise", "exec", "stage", "sys", "host", "plan", "spec", "config"],
  bootstrap: ["image", "sys", "host", "spec", "config", "plan", "exec", "supervise", "machine"],
  image: ["machine", "supervise", "exec", "sys", "host", "plan", "spec", "config"],
  transfer: ["image", "machine", "exec", "sys", "host", "plan", "spec", "config"],
  // What differs between states of an image.
  diff: ["transfer", "image", "sys", "host", "spec"],
  copy: ["machine", "supervise", "exec", "sys", "host", "plan", "spec", "config"],
  bus: ["sys", "host", "spec"],
  manager: [
    "copy",
    "transfer",
    "image",
    "machine",
    "supervise",
    "exec",
    "stage",
    "sys",
    "host",
    "plan",
    "spec",
    "config",
  ],
  // What the daemon shows on the bus: interfaces of machine1, import1, systemd1 and Manager1 over the manager's methods.
  dbus: [
    "bus",
    "manager",
    "copy",
    "transfer",
    "image",
    "machine",
    "supervise",
    "sys",
    "host",
    "plan",
    "spec",
    "config",
  ],
  daemon: [
    "exec",
    "dbus",
    "bus",
    "manager",
    "transfer",
    "image",
    "machine",
    "supervise",
    "sys",
    "host",
    "spec",
    "config",
  ],
  cli: [
    "manager",
    "diff",
    "copy",
    "transfer",
    "image",
    "bootstrap",
    "machine",
    "supervise",
    "exec",
    "host",
    "plan",
    "spec",
    "config",
  ],
};

/** These give the same answer everywhere and always: nothing in them reads a file, a clock or the kernel. */
const PURE = ["config", "spec", "plan"];
const PURE_PACKAGES = ["ini", "node:path", "node:path/posix"];

/** Types of values that are read from the world elsewhere: as types alone these may be named from anywhere. */
const TYPES_FOR_ALL = ["src/plan/facts.ts"];

/** Lines; beyond it a file has more than one topic. */
const LONGEST = 350;

const INTEGRATION = /^test\/integration\/[^/]+\.test\.ts$/;
/** Each of test/lib/leaks.ts, in part by way of set-up.ts. */
const LEAK_CHECKS = /\b(checkLeaks|leakCheck|leaksSince|setUpProbe)\(/;

export interface Import {
  /** A path below the checkout, or the name of a package. */
  readonly target: string;
  readonly typeOnly: boolean;
}

/** By path; TypeScript only. */
export type Sources = ReadonlyMap<string, string>;

/** Every complaint about these sources; [] = the structure holds. */
export function violations(sources: Sources): string[] {
  const found: string[] = [];
  const imports = new Map([...sources].map(([path, text]) => [path, importsOf(path, text)]));
  for (const [path, list] of imports) {
    for (const one of list) {
      const problem = forbidden(path, one);
      if (problem) found.push(`${path} imports ${one.target}: ${problem}`);
    }
  }
  for (const [path, text] of sources) {
    const length = text.trimEnd().split("\n").length;
    if (path.startsWith("src/") && length > LONGEST) found.push(`${path} has ${length} lines, over ${LONGEST}`);
    if (INTEGRATION.test(path) && !LEAK_CHECKS.test(text)) found.push(`${path} does not look for what it leaves`);
  }
  return [...found, ...cycles(imports).map((cycle) => `circular import: ${cycle.join(" -> ")}`)];
}

/** Its import, export ... from and import() of literal paths, from the text alone. */
export function importsOf(path: string, text: string): Import[] {
  const code = text.replaceAll(/^\s*(\/\/|\/?\*).*$/gm, "");
  const clauses = /^\s*(?:import|export)\s+(type\s)?(?:[\w*\s{},$]*?\sfrom\s*)?["']([^"']+)["']/gm;
  const calls = /\bimport\(\s*["']([^"']+)["']/g;
  return [
    ...[...code.matchAll(clauses)].map(([, type, name = ""]) => ({ target: resolve(path, name), typeOnly: !!type })),
    ...[...code.matchAll(calls)].map(([, name = ""]) => ({ target: resolve(path, name), typeOnly: false })),
  ];
}

function resolve(path: string, name: string): string {
  return name.startsWith(".") ? join(dirname(path), name) : name;
}

/** `plan` of src/plan/build.ts, `` of src/errors.ts, undefined outside src/. */
function areaOf(path: string): string | undefined {
  if (!path.startsWith("src/")) return undefined;
  const rest = path.slice("src/".length);
  return rest.includes("/") ? rest.slice(0, rest.indexOf("/")) : "";
}

function forbidden(path: string, { target, typeOnly }: Import): string | undefined {
  if (/^dist\//.test(target)) return "what is built is run, never imported";
  const from = areaOf(path);
  if (from === undefined || target === "src/errors.ts") return undefined;
  const to = areaOf(target);
  if (to !== undefined) return forbiddenArea(from, to, target, typeOnly);
  if (target === "koffi" && from !== "sys") return "only src/sys calls foreign functions";
  if (/^(test|\.scripts|node_modules)\//.test(target)) return "it lies outside src/";
  if (PURE.includes(from) && !typeOnly && !PURE_PACKAGES.includes(target))
    return `src/${from} touches nothing of the world`;
  return undefined;
}

function forbiddenArea(from: string, to: string, target: string, typeOnly: boolean): string | undefined {
  if (from === to) return undefined;
  if (typeOnly && TYPES_FOR_ALL.includes(target)) return undefined;
  const allowed = MAY_IMPORT[from];
  if (!allowed) return `src/${from}/ has no row in MAY_IMPORT (test/lib/structure.ts)`;
  return allowed.includes(to) ? undefined : `src/${from} may import of src/: ${allowed.join(", ") || "nothing"}`;
}

/** Each cycle once, begun at its first file by name. Imports of types alone vanish and close no cycle. */
function cycles(imports: ReadonlyMap<string, readonly Import[]>): string[][] {
  const found = new Map<string, string[]>();
  const done = new Set<string>();
  const visit = (path: string, trail: string[]): void => {
    const start = trail.indexOf(path);
    if (start >= 0) {
      const ring = trail.slice(start);
      const first = ring.indexOf([...ring].sort()[0] ?? "");
      const turned = [...ring.slice(first), ...ring.slice(0, first)];
      found.set(turned.join(), [...turned, turned[0] ?? ""]);
    }
    if (done.has(path) || start >= 0) return;
    for (const { target, typeOnly } of imports.get(path) ?? []) {
      if (!typeOnly && imports.has(target)) visit(target, [...trail, path]);
    }
    done.add(path);
  };
  for (const path of imports.keys()) visit(path, []);
  return [...found.values()];
}
