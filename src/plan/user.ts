import { nearest } from "../spec/nearest.ts";
import { boundUser } from "./bind-users.ts";
import type { UserFacts, UserSearch } from "./facts.ts";
import { idRange, type PlanInput } from "./input.ts";
import { init } from "./make-step.ts";
import { keptMask } from "./security.ts";
import type { Step } from "./step.ts";

/** Who the payload runs as: null is root, as nothing has to be looked up for. */
export function payloadUser(input: PlanInput): UserFacts | null {
  const { machine, spec } = input;
  const bound = boundUser(input, spec.user.value);
  if (bound !== undefined) return bound;
  return machine.user === null || "missing" in machine.user ? null : machine.user;
}

/**
 * While init may still load a filter, so that the filter need not allow what changes users: the capabilities that later
 * steps need outlive the change, and go with exec. Its directory is entered as that user, without them.
 */
export function becomeUser(input: PlanInput): Step[] {
  const user = payloadUser(input);
  if (user === null) return [];
  const { foreground, stdio } = input.request;
  return [
    init(
      "become-user",
      { ...idsOf(user), keep: keptMask(input), terminal: stdio === "console", foreground },
      input.spec.user.source,
    ),
  ];
}

export function idsOf({ uid, gid, groups }: UserFacts): { uid: number; gid: number; groups: number[] } {
  return { uid, gid, groups: [...groups] };
}

/** Not looked up. */
export const ROOT = { name: "root", home: "/root" } as const;

/** What a login finds; USER and LOGNAME are a number where the user has no name. */
export function loginVariables(user: UserFacts | null): readonly (readonly [name: string, value: string])[] {
  const { name, home } = user ?? ROOT;
  const variables = [
    ["HOME", home],
    ["USER", name],
    ["LOGNAME", name],
  ] as const;
  return user === null ? variables : [...variables, ["SHELL", user.shell]];
}

const SHOWN = 5;

/** Why somebody can't be that user, and who there is instead: people before services, as `known` has them. */
export function userFault(user: string, search: UserSearch, tree: string): { what: string; hint: string } | undefined {
  if (!("missing" in search)) return undefined;
  const near = nearest(user, search.known);
  const more = search.known.length - SHOWN;
  const some = `${search.known.slice(0, SHOWN).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
  const hint = near === undefined ? `it has ${some}` : `did you mean ${near}?`;
  return { what: `${tree} ${search.missing}`, hint: search.known.length === 0 ? "a number needs no entry" : hint };
}

/** Of a user that is there: the id that the machine has not got; undefined: it has all. */
export function foreignId({ uid, gid, groups }: UserFacts, input: PlanInput): number | undefined {
  const size = idRange(input)?.size ?? Number.POSITIVE_INFINITY;
  return [uid, gid, ...groups].find((id) => id >= size);
}
