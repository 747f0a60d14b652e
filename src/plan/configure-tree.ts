import type { MachineSpec, ResolvConfMode } from "../spec/machine-spec.ts";
import { isEtcWritable, rootKind } from "../spec/root-kind.ts";
import type { Source } from "../spec/source.ts";
import type { HostFacts, MachineFacts } from "./facts.ts";
import type { PlanInput } from "./input.ts";
import { host as hostStep, keeper } from "./make-step.ts";
import { removesMountPoints } from "./root.ts";
import type { Step } from "./step.ts";

const RESOLV_CONF = "/etc/resolv.conf";
const LOCALTIME = "/etc/localtime";
const HOST_FILES: Readonly<Record<string, string>> = {
  host: "/etc/resolv.conf",
  static: "/usr/lib/systemd/resolv.conf",
  uplink: "/run/systemd/resolve/resolv.conf",
  stub: "/run/systemd/resolve/stub-resolv.conf",
};

/** The two files that follow the host: /etc/resolv.conf and /etc/localtime. What the host lacks, the tree keeps as it is. */
export function configureTree(input: PlanInput): Step[] {
  return [...resolvConf(input), ...localtime(input)];
}

/**
 * What `auto` means (systemd-nspawn(1), --resolv-conf=): nothing with an own network, which the host's servers may be
 * out of reach of; else the stub where systemd-resolved runs, and the host's file where not; a copy if the tree is
 * writable.
 */
export function resolvConfMode(spec: MachineSpec, host: HostFacts, treeReadOnly: boolean): ResolvConfMode {
  const mode = spec.resolvConf.value;
  if (mode !== "auto") return mode;
  if (spec.privateNetwork.value || spec.networkNamespace.value !== undefined) return "off";
  const source = host.resolved.stub ? "stub" : "host";
  return isEtcWritable(spec, treeReadOnly) ? `copy-${source}` : `bind-${source}`;
}

/** The host's file that a mode names; null for off and delete. */
export function resolvConfFile(mode: ResolvConfMode): string | null {
  return HOST_FILES[mode.split("-")[1] ?? ""] ?? null;
}

/** Files that are bound rather than copied are opened on the host, like any bind source. */
export function configurationSources({ spec, host, machine }: PlanInput): Step[] {
  const mode = resolvConfMode(spec, host, machine.tree.readOnly);
  const file = bindsResolvConf(mode, spec, machine) ? resolvConfFile(mode) : null;
  const source = (fd: string, path: string, from: Source): Step =>
    hostStep("clone-tree", { fd, path, inside: null, recursive: false, flags: ["ro"], propagation: "private" }, from);
  return [
    ...(file === null ? [] : [source("resolv.conf", file, spec.resolvConf.source)]),
    ...(spec.timezone.value === "bind" && machine.localtime !== null
      ? [source("localtime", LOCALTIME, spec.timezone.source)]
      : []),
  ];
}

/** Not by itself where the tree has no place for it: a link into /run, say, which its own resolver fills. */
function bindsResolvConf(mode: ResolvConfMode, spec: MachineSpec, machine: MachineFacts): boolean {
  if (!mode.startsWith("bind-") || machine.resolvConf === null) return false;
  return spec.resolvConf.value !== "auto" || machine.resolvConfPlace === "file";
}

function resolvConf(input: PlanInput): Step[] {
  const { spec, host, machine } = input;
  const mode = resolvConfMode(spec, host, machine.tree.readOnly);
  const { source } = spec.resolvConf;
  if (mode === "off") return [];
  const temporary = nameBeside(RESOLV_CONF, machine);
  if (mode === "delete") return [keeper("delete-file", { path: RESOLV_CONF, temporary }, source)];
  if (machine.resolvConf === null) return [];
  if (mode.startsWith("bind-"))
    return bindsResolvConf(mode, spec, machine) ? [attachFile(input, "resolv.conf", RESOLV_CONF, source)] : [];
  const replace = mode.startsWith("replace-");
  return [keeper("copy-file", { target: RESOLV_CONF, base64: machine.resolvConf, replace, temporary }, source)];
}

/** auto: a link to the tree's own copy of the host's zone; a tree without zones keeps what it has. */
function attachFile(input: PlanInput, fd: string, target: string, source: Source): Step {
  return keeper("attach", { fd, target, create: "file", api: false, remove: removesMountPoints(input) }, source);
}

function localtime(input: PlanInput): Step[] {
  const { spec, host, machine } = input;
  const { value: mode, source } = spec.timezone;
  const { tree } = machine;
  const temporary = nameBeside(LOCALTIME, machine);
  const link = { path: LOCALTIME, target: `../usr/share/zoneinfo/${host.timezone}`, temporary };
  switch (mode) {
    case "off":
      return [];
    case "delete":
      return [keeper("delete-file", { path: LOCALTIME, temporary }, source)];
    case "symlink":
      return host.timezone === null ? [] : [keeper("replace-symlink", { ...link, directory: "refuse" }, source)];
    case "auto":
      if (host.timezone === null || !tree.hasTimezone || !isEtcWritable(spec, tree.readOnly)) return [];
      if (tree.timezone === host.timezone && rootKind(spec) !== "memory") return [];
      return [keeper("replace-symlink", { ...link, directory: "keep" }, source)];
    case "bind":
      return machine.localtime === null ? [] : [attachFile(input, "localtime", LOCALTIME, source)];
    case "copy":
      if (machine.localtime === null) return [];
      return [keeper("copy-file", { target: LOCALTIME, base64: machine.localtime, replace: true, temporary }, source)];
  }
}

/** Random, since the tree is not trusted: a name it knew in advance it could hold against every start. */
function nameBeside(path: string, { randomId }: MachineFacts): string {
  return `.berth-${path.slice(path.lastIndexOf("/") + 1)}-${randomId.slice(0, 16)}`;
}
