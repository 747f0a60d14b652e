import type { Problem } from "../spec/problem.ts";
import { quote } from "../spec/quote.ts";
import type { Source } from "../spec/source.ts";
import type { HostUser, UserFacts } from "./facts.ts";
import { idRange, type PlanInput, rootId } from "./input.ts";
import { host, keeper } from "./make-step.ts";
import type { BoundUser, LaunchPlan, Step } from "./step.ts";

/** Ids inside that systemd keeps for users of the host (its UIDS-GIDS text: "map users"). */
const FIRST = 60514;
const LAST = 60577;
const NOBODY = 65534;
const HOMES = "/run/host/home";

/** A user of the host, as BindUser= has it inside: the same name, an id of its own for user and group. */
interface Bound {
  readonly user: BoundUser;
  readonly host: HostUser;
  readonly source: Source;
  /** Of the detached mount of the home directory. */
  readonly fd: string;
}

/** Those that can be had; `bindUsersFit` says what is wrong with the others. */
function boundUsers(input: PlanInput): readonly Bound[] {
  const { spec, machine } = input;
  const taken = new Set(machine.bindUsers?.tree.ids);
  const bound: Bound[] = [];
  for (const { value: name, source } of distinct(input)) {
    const user = machine.bindUsers?.host[name];
    const uid = range(input).find((id) => !taken.has(id));
    if (user === undefined || user === null || uid === undefined) continue;
    taken.add(uid);
    const shell = spec.bindUserShell.value;
    const own = shell === true ? user.shell : shell === false ? null : shell;
    const groups = [...new Set(spec.bindUserGroups.map(({ value }) => value))].map((group) => ({
      name: group,
      gid: machine.bindUsers?.tree.groups[group] ?? null,
    }));
    const inside = { name, uid, home: `${HOMES}/${name}`, shell: own, groups };
    bound.push({ user: inside, host: user, source, fd: `home:${name}` });
  }
  return bound;
}

/** A bound user to run as; the tree knows nothing of them. */
export function boundUser(input: PlanInput, name: string): UserFacts | undefined {
  const bound = boundUsers(input).find(({ user }) => user.name === name);
  return bound === undefined ? undefined : factsOf(bound.user);
}

/** The same of a machine that runs, by the plan of its start. */
export function boundIn({ steps }: LaunchPlan, name: string): UserFacts | undefined {
  for (const step of steps) {
    const user = step.kind === "make-user-records" ? step.args.users.find((each) => each.name === name) : undefined;
    if (user !== undefined) return factsOf(user);
  }
  return undefined;
}

function factsOf({ name, uid, home, shell, groups }: BoundUser): UserFacts {
  const more = groups.flatMap(({ gid }) => gid ?? []);
  return { name, uid, gid: uid, groups: [uid, ...more], home, shell: shell ?? "/bin/sh" };
}

function distinct({ spec }: PlanInput): PlanInput["spec"]["bindUsers"] {
  return spec.bindUsers.filter(
    ({ value }, index) => spec.bindUsers.findIndex((each) => each.value === value) === index,
  );
}

/** Ids that the machine has of those. */
function range(input: PlanInput): readonly number[] {
  const count = Math.min(LAST + 1, idRange(input)?.size ?? 0) - FIRST;
  return Array.from({ length: Math.max(count, 0) }, (_, index) => FIRST + index);
}

/** Opened on the host before anything else is made. */
export function userSources(input: PlanInput): Step[] {
  const users = boundUsers(input);
  const [first] = users;
  if (first === undefined) return [];
  return [
    ...users.map(({ host: { home }, fd, source }) =>
      host(
        "clone-tree",
        { fd, path: home, inside: null, recursive: true, flags: ["nodev"], propagation: "slave" },
        source,
      ),
    ),
    host(
      "make-user-records",
      { fd: "userdb", owner: rootId(input), users: users.map(({ user }) => user) },
      first.source,
    ),
  ];
}

/** One id of the host is the user's inside, whatever range the machine has; of others in the home nothing is shown. */
export function mapHomes(input: PlanInput): Step[] {
  return boundUsers(input).map(({ user, host: { uid, gid }, fd, source }) => {
    const line = (disk: number) => [{ disk, host: rootId(input) + user.uid, count: 1 }];
    return host("map-owners", { fd, recursive: true, mapping: { uids: line(uid), gids: line(gid) } }, source);
  });
}

/** In /run/host, where nss-systemd(8) looks for records. */
export function publishUsers(input: PlanInput): Step[] {
  const users = boundUsers(input);
  const [first] = users;
  if (first === undefined) return [];
  const attach = (fd: string, target: string, source: Source): Step =>
    keeper("attach", { fd, target, create: "directory", api: true, remove: false }, source);
  return [
    attach("userdb", "/run/host/userdb", first.source),
    keeper("make-directory", { path: HOMES, mode: 0o755 }, first.source),
    ...users.map(({ fd, user, source }) => attach(fd, user.home, source)),
  ];
}

/** What keeps a user of the host from being one inside. As in systemd-nspawn, and root and nobody are everywhere anyway. */
export function bindUsersFit(input: PlanInput): readonly Problem[] {
  const { machine, spec } = input;
  if (machine.bindUsers === null || (spec.privateUsers.value.mode === "pick" && machine.rangeBase === null)) return [];
  const { host: users, tree } = machine.bindUsers;
  const bound = new Set(boundUsers(input).map(({ user }) => user.name));
  return distinct(input).flatMap(({ value: name, source }): Problem[] => {
    const user = users[name] ?? null;
    const problem = (what: string, hint?: string): Problem[] => [
      { severity: "error", source, what, ...(hint === undefined ? {} : { hint }) },
    ];
    if (user === null) return problem(`the host has no user ${quote(name)}`, "getent passwd lists those it has");
    if ([0, NOBODY].includes(user.uid)) return problem(`user ${name} can't be bound: every machine has its own`);
    if (tree.names.includes(name))
      return problem(
        `${spec.root.value} has a user or group ${name} of its own`,
        "bind another user, or remove the one in the tree",
      );
    if (isInRange(input, user.uid) || isInRange(input, user.gid))
      return problem(
        `user ${name} of the host has an id that is in the machine's range`,
        "PrivateUsers=pick has another",
      );
    if (user.homeFacts.type !== "directory")
      return problem(
        user.homeFacts.type === "missing"
          ? `the home ${user.home} of user ${name} can't be opened: ${user.homeFacts.errno}`
          : `the home ${user.home} of user ${name} is no directory`,
      );
    if (!bound.has(name))
      return problem(
        `no user id from ${FIRST} to ${LAST} is left in the machine for user ${name}`,
        "the range of PrivateUsers= has to have them, and the tree no users with all of them",
      );
    return [];
  });
}

function isInRange(input: PlanInput, id: number): boolean {
  const ids = idRange(input);
  // With the host's own ids inside that is what they all are.
  return ids !== null && ids.base !== 0 && id >= ids.base && id < ids.base + ids.size;
}
