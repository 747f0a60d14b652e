import { type Check, installPackage, ok, warning } from "./finding.ts";

export const mmdebstrap: Check = (_, survey) =>
  survey.programs.mmdebstrap !== null
    ? ok("mmdebstrap", survey.programs.mmdebstrap)
    : warning(
        "mmdebstrap",
        "not found: `berth bootstrap` makes no Debian or Ubuntu trees",
        installPackage(survey, "mmdebstrap"),
      );

export const runtime: Check = (_, { runtime: { version, path, pinned } }) => {
  if (pinned === null || pinned === version) return ok("runtime", `Node ${version}, ${path}`);
  return warning(
    "runtime",
    `Node ${version} (${path}) is not the tested ${pinned}`,
    "npm ci, in the directory of berth",
  );
};

export const systemd: Check = ({ systemd: booted }, { machined }) => {
  if (!booted) return ok("systemd", "not PID 1: berthd manages cgroups itself and owns org.freedesktop.machine1");
  return ok(
    "systemd",
    machined ? "PID 1, with machined: machines are registered there" : "PID 1: machines are scopes of machine.slice",
  );
};

export const bus: Check = (_, survey) => {
  if (survey.systemBus) return ok("D-Bus", "the system bus is there");
  if (survey.programs["dbus-daemon"] !== null) return ok("D-Bus", "no system bus: berthd starts a private one");
  return warning(
    "D-Bus",
    "no system bus and no dbus-daemon: berth works, machinectl and other programs cannot reach it",
    installPackage(survey, "dbus-daemon", "dbus"),
  );
};
