import type { Problem } from "../spec/problem.ts";
import { findSetting } from "./settings.ts";
import type { Assignment } from "./unit-file.ts";

/** A warning that an assignment does not count. */
export interface IgnoredSetting extends Problem {
  readonly key: string;
}

/**
 * For settings from a place that is not trusted, such as a file that came with an image: keeps what is marked safe in
 * the table and names the rest in warnings. The safe ones are those that systemd.nspawn(5) does not call privileged,
 * without Ephemeral= and PivotRoot= (with BindUser= the way out in CVE-2026-40226) and without those that take the
 * machine's protection away (Private=no, SystemCallFilter=). Unknown keys stay: they have no effect anyway.
 * `home`: the directory that a file is trusted in, for the hint.
 */
export function restrictToSafe(
  assignments: readonly Assignment[],
  home: string,
): {
  kept: readonly Assignment[];
  dropped: readonly IgnoredSetting[];
} {
  const kept: Assignment[] = [];
  const dropped: IgnoredSetting[] = [];
  for (const assignment of assignments) {
    const { section, key, source } = assignment;
    if (findSetting(section, key)?.safe === false)
      dropped.push({
        severity: "warning",
        source,
        key,
        what: `${key}= is ignored: settings that come with an image may not set it`,
        hint: `copied to ${home} it is trusted`,
      });
    else kept.push(assignment);
  }
  return { kept, dropped };
}
