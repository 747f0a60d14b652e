import { hasCapability } from "../kernel.ts";
import { type Check, ok, setSysctl, unknown, warning } from "./finding.ts";

const CAP_SYS_RESOURCE = 24;
/** What systemd gives PID 1 and its services as a hard limit since 240. */
const NOFILE = 524288;

export const openFiles: Check = ({ hardLimits: { nofile }, capabilities }) => {
  const shown = nofile === null ? "unlimited" : `${nofile}`;
  if (nofile === null || nofile >= NOFILE || hasCapability(capabilities, CAP_SYS_RESOURCE)) {
    return ok("open files", `hard limit ${shown}`);
  }
  return warning(
    "open files",
    `the hard limit is ${shown}, and without CAP_SYS_RESOURCE machines cannot get the usual ${NOFILE}`,
    `raise it for whatever starts berth: ulimit -Hn ${NOFILE}, or LimitNOFILE=${NOFILE} in its unit`,
  );
};

/** inotify(7): counted up through user namespaces to the user who made them, so for all machines together. */
export const inotify: Check = (_, { sysctls: { inotifyInstances: instances, inotifyWatches: watches } }) => {
  if (instances === null) return unknown("inotify", "fs.inotify.max_user_instances cannot be read");
  if (instances < 1024) {
    return warning(
      "inotify",
      `${instances} instances for all machines together: beyond some ten booted ones their services fail with EMFILE`,
      setSysctl("fs.inotify.max_user_instances", 8192),
    );
  }
  return ok("inotify", `${instances} instances, ${watches ?? "?"} watches`);
};

/** keyrings(7): per id, and the root of a machine is such an id. */
export const keys: Check = (_, { sysctls: { keys: maximum } }) => {
  if (maximum === null) return ok("keys", "no kernel keyrings");
  if (maximum >= 2000) return ok("keys", `${maximum} an id`);
  return warning(
    "keys",
    `${maximum} kernel keys an id: systemd in a machine makes a keyring a service, and past that they fail with EDQUOT`,
    setSysctl("kernel.keys.maxkeys", 2000),
  );
};

export const pids: Check = (_, { sysctls: { pidMax } }) => {
  if (pidMax === null) return unknown("process ids", "kernel.pid_max cannot be read");
  if (pidMax >= 32768) return ok("process ids", `${pidMax}`);
  return warning(
    "process ids",
    `kernel.pid_max is ${pidMax}, for the host and all machines`,
    setSysctl("kernel.pid_max", 4194304),
  );
};
