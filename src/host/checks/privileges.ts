import { hasCapability } from "../kernel.ts";
import { type Check, failed, ok, warning } from "./finding.ts";

/** capabilities(7). `needed`: without it no machine starts. */
const CAPABILITIES: readonly {
  readonly bit: number;
  readonly name: string;
  readonly needed: boolean;
  readonly loss: string;
}[] = [
  { bit: 0, name: "CAP_CHOWN", needed: true, loss: "handing its cgroup and terminal to a machine" },
  { bit: 1, name: "CAP_DAC_OVERRIDE", needed: true, loss: "reading and writing trees" },
  { bit: 5, name: "CAP_KILL", needed: true, loss: "stopping machines" },
  { bit: 6, name: "CAP_SETGID", needed: true, loss: "group id maps" },
  { bit: 7, name: "CAP_SETUID", needed: true, loss: "user id maps" },
  { bit: 8, name: "CAP_SETPCAP", needed: true, loss: "taking capabilities away from a machine" },
  { bit: 18, name: "CAP_SYS_CHROOT", needed: true, loss: "entering a machine" },
  { bit: 21, name: "CAP_SYS_ADMIN", needed: true, loss: "namespaces and mounts" },
  { bit: 3, name: "CAP_FOWNER", needed: false, loss: "modes of files that others own" },
  { bit: 12, name: "CAP_NET_ADMIN", needed: false, loss: "virtual Ethernet links and bridges" },
  { bit: 19, name: "CAP_SYS_PTRACE", needed: false, loss: "entering machines that run" },
  { bit: 24, name: "CAP_SYS_RESOURCE", needed: false, loss: "limits above our own and OOM scores below it" },
  { bit: 27, name: "CAP_MKNOD", needed: false, loss: "device nodes" },
  { bit: 31, name: "CAP_SETFCAP", needed: false, loss: "PrivateUsers=identity" },
];

export const privileges: Check = (facts, { euid }) => {
  if (euid !== 0) {
    const detail = `running as user ${euid}: only root starts machines, and some of what follows only root can see`;
    return warning("privileges", detail, "sudo berth doctor");
  }
  const missing = CAPABILITIES.filter(({ bit }) => !hasCapability(facts.capabilities, bit));
  if (missing.length === 0) return ok("privileges", "root with every capability that berth uses");
  const detail = `root without ${missing.map(({ name, loss }) => `${name} (${loss})`).join(", ")}`;
  const fix =
    "give them back: the outer manager, a service file or a shell wrapper (CapabilityBoundingSet=) took them away";
  return missing.some(({ needed }) => needed) ? failed("privileges", detail, fix) : warning("privileges", detail, fix);
};

export const container: Check = (_, { container: manager, initialNamespaces }) => {
  const name = manager === null ? "a container" : `a container of ${manager}`;
  if (!initialNamespaces.user) {
    return failed(
      "outer container",
      `this is inside a user namespace (${name}): the kernel makes no idmapped mounts of disk file systems there`,
      "run berth on the host, or in a container without a user namespace",
    );
  }
  if (!initialNamespaces.pid) {
    return warning("outer container", `this is inside ${name}: machines get no more than it has, and end with it`);
  }
  return ok("outer container", "none");
};
