import type { Problem } from "../spec/problem.ts";
import { findSetting } from "./settings.ts";
import type { Assignment } from "./unit-file.ts";

/**
 * For settings from a place that is not trusted, such as a file that came with an image: keeps what is marked safe in
 * the table and names the rest in warnings. The safe ones are those that systemd.nspawn(5) does not call privileged,
 * without Ephemeral= and PivotRoot= (with BindUser= the way out in CVE-2026-40226) and without those that take the
 * machine's protection away (Private=no, SystemCallFilter=). Unknown keys stay: they have no effect anyway.
 */
export function restrictToSafe(assignments: readonly Assignment[]): {
  kept: readonly Assignment[];
  dropped: readonly Problem[];
} {
  const kept: Assignment[] = [];
  const dropped: Problem[] = [];
  for (const assignment of assignments) {
    const { section, key, source } = assignment;
    if (findSetting(section, key)?.safe === false)
      dropped.push({
        severity: "warning",
        source,
        what: `${key}= is ignored: settings that come with an image may not set it`,
        hint: "copy the file to the machines directory of /etc/berth to trust it",
      });
    else kept.push(assignment);
  }
  return { kept, dropped };
}
