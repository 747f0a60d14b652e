/**
 * The inputs of the golden plans: each NAME.nspawn here, with the facts of a made-up host and tree. NAME.json beside
 * it may change those, and add what a command line would:
 *
 *   { "root": "/srv/tree", "options": ["--bind=/srv"], "credentials": ["ID:VALUE"], "command": ["true"], "boot": true, "name": "x", "host": {...}, "machine": {...},
 *     "slice": "web", "properties": ["MemoryMax=1G"], "keepUnit": true, "bindUserGroups": ["wheel"],
 *     "selinux": ["PROCESS CONTEXT", "FILE CONTEXT"], "request": {...} }
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { setCredential } from "../../src/config/credentials.ts";
import { contextOption } from "../../src/config/selinux.ts";
import { propertyOption, sliceOption } from "../../src/config/unit-options.ts";
import { groupOption } from "../../src/config/values-users.ts";
import type { HostFacts, MachineFacts, PathFacts, TreeFacts, UsrFacts } from "../../src/plan/facts.ts";
import { RLIMIT_NAMES } from "../../src/plan/facts.ts";
import type { PlanInput, PlanRequest } from "../../src/plan/input.ts";
import { rootKind } from "../../src/spec/root-kind.ts";
import { specOf } from "../lib/launch.ts";

export const HOST: HostFacts = {
  arch: "x64",
  kernel: { release: "6.12.41+deb13-amd64", version: [6, 12] },
  cgroup: { mode: "v2", mount: "/sys/fs/cgroup", own: "/", controllers: ["cpuset", "cpu", "io", "memory", "pids"] },
  systemd: false,
  selinux: false,
  capabilities: "1ffffffffff",
  lastCapability: 40,
  hardLimits: {
    ...(Object.fromEntries(RLIMIT_NAMES.map((name) => [name, null])) as HostFacts["hardLimits"]),
    nofile: 524288,
    memlock: 8388608,
    nproc: 63432,
    sigpending: 63432,
  },
  sysctls: { maxUserNamespaces: 63432, threadsMax: 126864 },
  hostname: "host",
  machineId: "0123456789abcdef0123456789abcdef",
  bootId: "01234567-89ab-cdef-0123-456789abcdef",
  osRelease: { ID: "debian", VERSION_ID: "13" },
  timezone: "Europe/Berlin",
  resolved: { stub: false, uplink: false, static: false },
};

export const TREE: TreeFacts = {
  isHostRoot: false,
  readable: true,
  owner: 0,
  group: 0,
  fsType: "ext4",
  readOnly: false,
  init: { path: "/usr/lib/systemd/systemd", kind: "systemd", machine: "x86-64" },
  osRelease: { ID: "debian", VERSION_ID: "12" },
  machineId: "fedcba9876543210fedcba9876543210",
  hasTimezone: true,
  timezone: "Etc/UTC",
};

const MACHINE: MachineFacts = {
  tree: TREE,
  storage: { kind: "directory" },
  bindSources: {},
  mappedSources: {},
  targetOwners: {},
  layers: {},
  temporaryFsType: "ext4",
  journal: { kept: true, entry: { type: "missing" }, isPlainInTree: true, usedBy: "nobody" },
  rangeBase: 1234567168,
  resolvConf: Buffer.from("nameserver 192.0.2.1\n").toString("base64"),
  localtime: Buffer.from("TZif2").toString("base64"),
  user: null,
  openFilesMax: 1048576,
  bindUsers: null,
  layer: null,
  usr: null,
  resolvConfPlace: "file",
  randomId: "00112233445566778899aabbccddeeff",
  credentialSources: {},
};

const REQUEST: PlanRequest = { foreground: false, stdio: "console", term: null };

const MERGED: UsrFacts = {
  links: { bin: "usr/bin", sbin: "usr/sbin", lib: "usr/lib", lib64: "usr/lib64" },
  bin: null,
};

export interface Changes {
  readonly name?: string;
  readonly root?: string;
  readonly options?: readonly string[];
  readonly command?: readonly string[];
  readonly boot?: boolean;
  readonly credentials?: readonly string[];
  readonly slice?: string;
  readonly bindUserGroups?: readonly string[];
  readonly properties?: readonly string[];
  readonly keepUnit?: boolean;
  readonly selinux?: readonly [string, string];
  readonly host?: Partial<HostFacts>;
  readonly tree?: Partial<TreeFacts>;
  readonly machine?: Partial<MachineFacts>;
  readonly request?: Partial<PlanRequest>;
}

export const GOLDENS: readonly string[] = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith(".nspawn"))
  .map((file) => file.replace(/\.nspawn$/, ""))
  .sort();

export function goldenFile(name: string): URL {
  return new URL(name, import.meta.url);
}

export function goldenInput(golden: string): PlanInput {
  return inputOf(golden, goldenSettings(golden), goldenChanges(golden));
}

export function goldenSettings(golden: string): string {
  return readFileSync(goldenFile(`${golden}.nspawn`), "utf8");
}

/** Bind sources whose name has a dot are files, the others directories. */
export function inputOf(golden: string, settings: string, changes: Changes): PlanInput {
  const name = changes.name ?? golden;
  const spec = specOf({
    name,
    root: changes.root ?? `/var/lib/machines/${name}`,
    settings,
    file: `/etc/berth/machines/${golden}.nspawn`,
    options: changes.options ?? [],
    command: changes.command ?? [],
    boot: changes.boot ?? true,
    bindUserGroups: (changes.bindUserGroups ?? []).map(groupOption),
    unit: {
      ...(changes.slice !== undefined && { slice: sliceOption(changes.slice) }),
      ...(changes.keepUnit && { keepUnit: { value: true, source: { from: "option", option: "--keep-unit" } } }),
      unitProperties: (changes.properties ?? []).map(propertyOption),
    },
    selinux:
      changes.selinux === undefined
        ? {}
        : {
            selinuxContext: contextOption("--selinux-context", changes.selinux[0]),
            selinuxApifsContext: contextOption("--selinux-apifs-context", changes.selinux[1]),
          },
    credentials: (changes.credentials ?? []).map((text) => setCredential(text).credential),
  });
  const sources = spec.binds.map(({ value: { source } }): [string, PathFacts] => [
    source,
    { type: source.includes(".") ? "file" : "directory" },
  ]);
  return {
    spec,
    host: { ...HOST, ...changes.host },
    machine: {
      ...MACHINE,
      bindSources: Object.fromEntries(sources),
      layer: rootKind(spec) === "layer" ? { fsType: "ext4", readOnly: false } : null,
      usr: rootKind(spec) === "memory" ? MERGED : null,
      ...changes.machine,
      tree: { ...TREE, ...changes.tree },
    },
    places: {
      lock: `/run/berth/locks/${name}`,
      record: `/run/berth/running/${name}`,
      ranges: "/run/systemd/nspawn-uid",
      trees: "/run/systemd/nspawn/locks",
      ledger: "/var/lib/machines/.berth-ranges.json",
      layer: `/var/lib/machines/.berth-layer-${name}`,
      temporary: `/var/lib/machines/.berth-temporary-1a2b3c4d-${name}`,
      cgroup: "berth-1a2b3c4d",
    },
    request: { ...REQUEST, ...changes.request },
  };
}

export function goldenChanges(golden: string): Changes {
  const path = goldenFile(`${golden}.json`);
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as Changes) : {};
}
