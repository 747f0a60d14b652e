import type { Namespace } from "../plan/step.ts";
import {
  CLONE_NEWCGROUP,
  CLONE_NEWIPC,
  CLONE_NEWNET,
  CLONE_NEWNS,
  CLONE_NEWPID,
  CLONE_NEWUSER,
  CLONE_NEWUTS,
} from "../sys/constants.ts";

const FLAGS: Readonly<Record<Namespace, number>> = {
  mount: CLONE_NEWNS,
  user: CLONE_NEWUSER,
  pid: CLONE_NEWPID,
  net: CLONE_NEWNET,
  ipc: CLONE_NEWIPC,
  uts: CLONE_NEWUTS,
  cgroup: CLONE_NEWCGROUP,
};

/** The CLONE_NEW* bits of namespaces given in words. */
export function namespaceFlags(namespaces: readonly Namespace[]): number {
  return namespaces.reduce((bits, namespace) => bits | FLAGS[namespace], 0);
}
