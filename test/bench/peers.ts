/** The floor and the other managers, each set up in its own way to run one program in a tree. */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { removeCgroup } from "../../src/exec/cgroup.ts";
import { compileFilter } from "../../src/exec/seccomp-filter.ts";
import type { LaunchPlan } from "../../src/plan/step.ts";
import { cgroup2Mount } from "../lib/requires.ts";
import { debianTree } from "../lib/trees.ts";
import { compileC } from "./lib.ts";

export interface Peer {
  readonly name: string;
  /** Program that has to be installed. */
  readonly tool: string;
  readonly note: string;
  readonly argv: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
}

/** A Debian tree of one's own, to write into. */
export async function copyOfDebian(at: string): Promise<string> {
  execFileSync("cp", ["-a", "--reflink=auto", await debianTree("bookworm"), at]);
  return at;
}

export interface Floor {
  readonly program: string;
  /** Words that turn all protections on that a plan has. */
  protectedBy(plan: LaunchPlan): readonly string[];
}

/** floor.c, and a cgroup for its machines that is gone with this process. */
export function makeFloor(work: string): Floor {
  const cgroup = join(cgroup2Mount() ?? "", `floor-${process.pid}`);
  mkdirSync(cgroup);
  process.on("exit", () => removeCgroup(cgroup));
  return {
    program: compileC("floor", work),
    protectedBy(plan) {
      const filter = join(work, "filter");
      for (const step of plan.steps)
        if (step.kind === "load-filter") writeFileSync(filter, compileFilter(step.args.policy));
      return ["-f", filter, "-c", cgroup];
    },
  };
}

export const PROTECTED = "all protections on; masks not locked, no keeper";
export const UNPROTECTED = "namespaces, mounts, pivot_root, exec: nothing else";

/** No registration and no unit: with whom to register there is nobody, and it would take longer still. */
export const NSPAWN = ["systemd-nspawn", "--register=no", "--keep-unit", "--quiet", "--private-network"];

/** All with their defaults but for what the note says. */
export function peers(tree: string, work: string, command: readonly string[]): Peer[] {
  const lxc = join(work, "lxc");
  writeLxcConfig(join(lxc, "bench"), tree);
  const bundle = join(work, "bundle");
  writeBundle(bundle, tree, command);
  const nspawn = [...NSPAWN, "--private-users=pick", "-D", tree];
  return [
    {
      name: "bwrap",
      tool: "bwrap",
      note: "all namespaces, no cgroup, no seccomp, 3 mounts",
      argv: ["bwrap", "--bind", tree, "/", "--proc", "/proc", "--dev", "/dev", "--unshare-all", ...command],
    },
    {
      name: "crun",
      tool: "crun",
      note: "no user namespace, no seccomp, no cgroup",
      argv: ["crun", "--cgroup-manager=disabled", "run", "-b", bundle, "berth-bench-crun"],
    },
    {
      name: "runc",
      tool: "runc",
      note: "no user namespace, no seccomp",
      argv: ["runc", "run", "-b", bundle, "berth-bench-runc"],
    },
    {
      name: "lxc-execute",
      tool: "lxc-execute",
      note: "no user namespace, no seccomp, no AppArmor",
      argv: ["lxc-execute", "-P", lxc, "-n", "bench", "--", ...command],
    },
    {
      name: "nspawn",
      tool: "systemd-nspawn",
      note: "user and network namespace, seccomp, no cgroup of its own",
      argv: [...nspawn, ...command],
    },
    {
      name: "nspawn, no seccomp",
      tool: "systemd-nspawn",
      note: "the same with SYSTEMD_SECCOMP=0",
      argv: [...nspawn, ...command],
      env: { SYSTEMD_SECCOMP: "0" },
    },
  ];
}

export function writeLxcConfig(directory: string, tree: string, more: readonly string[] = []): void {
  mkdirSync(directory, { recursive: true });
  const config = [
    `lxc.rootfs.path = dir:${tree}`,
    "lxc.net.0.type = empty",
    "lxc.cgroup.relative = 1",
    "lxc.mount.auto = proc:mixed sys:mixed",
    "lxc.apparmor.profile = unconfined",
    ...more,
  ];
  writeFileSync(join(directory, "config"), `${config.join("\n")}\n`);
}

/** An OCI bundle that asks for as little as crun and runc accept. */
function writeBundle(directory: string, tree: string, args: readonly string[]): void {
  mkdirSync(directory, { recursive: true });
  const tmpfs = (destination: string) => ({ destination, type: "tmpfs", source: "tmpfs", options: ["nosuid"] });
  const config = {
    ociVersion: "1.0.0",
    process: { user: { uid: 0, gid: 0 }, args, env: ["PATH=/usr/bin:/bin"], cwd: "/" },
    root: { path: tree },
    hostname: "bench",
    mounts: [
      { destination: "/proc", type: "proc", source: "proc" },
      { destination: "/sys", type: "sysfs", source: "sysfs", options: ["ro"] },
      ...["/dev", "/run", "/tmp"].map(tmpfs),
    ],
    linux: { namespaces: ["pid", "network", "ipc", "uts", "mount"].map((type) => ({ type })) },
  };
  writeFileSync(join(directory, "config.json"), JSON.stringify(config));
}
