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

export const systemd: Check = ({ systemd: booted }) =>
  ok(
    "systemd",
    booted ? "PID 1: machines are scopes of machine.slice" : "not PID 1: berth makes machines' cgroups itself",
  );
