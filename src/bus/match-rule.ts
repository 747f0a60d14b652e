import type { Header } from "./message.ts";

/** Which signals are wanted ("Match Rules"); all that is given has to fit. */
export interface MatchRule {
  /** A unique name, or a well-known one, whose owner is followed. */
  readonly sender?: string;
  readonly path?: string;
  /** The path, or anything below it. */
  readonly pathNamespace?: string;
  readonly interface?: string;
  readonly member?: string;
  /** The first argument, a string. */
  readonly arg0?: string;
}

/** As the bus takes it. */
export function ruleText(rule: MatchRule): string {
  const keys = {
    sender: rule.sender,
    path: rule.path,
    path_namespace: rule.pathNamespace,
    interface: rule.interface,
    member: rule.member,
    arg0: rule.arg0,
  };
  const parts = Object.entries(keys).flatMap(([key, value]) =>
    // An apostrophe ends the quotes; outside of them a backslash quotes it.
    value === undefined ? [] : [`${key}='${value.replaceAll("'", "'\\''")}'`],
  );
  return ["type='signal'", ...parts].join(",");
}

/** Whether a signal fits, its sender apart. `arg0` is asked for only where the rule has one. */
export function fits(rule: MatchRule, header: Header, arg0: () => unknown): boolean {
  const { path = "" } = header;
  const below = rule.pathNamespace === "/" ? "/" : `${rule.pathNamespace}/`;
  return (
    (rule.path === undefined || rule.path === path) &&
    (rule.pathNamespace === undefined || rule.pathNamespace === path || path.startsWith(below)) &&
    (rule.interface === undefined || rule.interface === header.interface) &&
    (rule.member === undefined || rule.member === header.member) &&
    (rule.arg0 === undefined || rule.arg0 === arg0())
  );
}
