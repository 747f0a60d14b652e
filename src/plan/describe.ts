import type { BoundUser, IdMapping, MountFlag, Step, StepKind, StepOf } from "./step.ts";

/** One line a step: what is done to what. `berth plan` prints it, and so does the message when it fails. */
const DESCRIPTIONS: { readonly [K in StepKind]: (args: StepOf<K>["args"]) => string } = {
  "lock-name": ({ path }) => `lock the name by ${path}`,
  "lock-tree": ({ tree, shared }) =>
    shared ? `keep others from changing the tree ${tree}` : `lock the tree ${tree} for this machine alone`,
  "lock-use": ({ directory, as }) => `lock ${directory} as this machine's ${as} alone`,
  "chown-tree": ({ path, base }) => `change the owners in ${path} to ids from ${base} on`,
  "claim-range": ({ base, size }) => `claim host ids ${base}..${base + size - 1}`,
  "make-record": ({ directory }) => `make the record in ${directory}`,
  "make-cgroup": ({ path }) => `make cgroup ${path}: supervisor/ for the keeper, payload/ for the machine`,
  "make-scope": ({ unit, slice }) =>
    `have systemd start ${unit} in ${slice} around the keeper, with payload/ for the machine`,
  "delegate-cgroup": ({ path, owner }) => `delegate cgroup ${path} to ${owner}, with limits on what is made in it`,
  "set-unit-property": ({ unit, name, value }) => `have systemd set ${name}=${value} of ${unit}`,
  "use-unit": ({ unit }) => `divide ${unit}: supervisor/ for all that is in it, payload/ for the machine`,
  "enable-controllers": ({ path }) => `hand the controllers of ${path} down to payload/`,
  "clone-tree": ({ fd, path, inside, recursive, flags, propagation }) =>
    `copy mount ${inside === null ? path : `${inside} of ${path}`} as ${fd}${flagText([...flags, ...(recursive ? ["recursive"] : []), propagation])}`,
  "mount-part": ({ fd, image, part: { number, fsType }, access }) =>
    `mount ${number === null ? `the ${fsType} in` : `partition ${number} (${fsType}) of`} ${image} as ${fd}${flagText(["nodev", ...(access === "writable" ? [] : ["ro"])])}`,
  "lock-submounts": ({ fd, flags }) => `what is mounted below ${fd}:${flagText(flags)}`,
  "open-network": ({ fd, path }) => `open the network namespace ${path} as ${fd}`,
  "make-layer": ({ fd, directory, content }) =>
    content === "empty"
      ? `make an empty layer for changes in ${directory} as ${fd}`
      : `go on with the kept layer of changes in ${directory} as ${fd}`,
  "open-upper": ({ fd, path, inside, data, work }) =>
    `copy mount ${inside === null ? path : `${inside} of ${path}`} as ${fd}, with layer ${data} and a new work directory ${work}`,
  "make-journal": ({ path, owner }) => `make directory ${path} for the machine's journal, owned by ${owner}`,
  "link-journal": ({ path, target }) => `link ${path} -> ${target}`,
  "make-credentials": ({ fd, owner, ids, size }) =>
    `put credentials ${ids.join(", ")} into a file system in memory as ${fd}, owned by ${owner}${size === null ? "" : ` (${size} bytes)`}`,
  "make-user-records": ({ fd, users }) =>
    `make records of the host's users ${users.map(({ name, uid }) => `${name} (${uid})`).join(", ")}${memberText(users)} as ${fd}`,
  "notify-socket": ({ fd, owner }) => `bind the notify socket as ${fd}, owned by ${owner}`,
  rendezvous: ({ directory }) => `listen on ${directory}/keeper for the supervisor that comes after this one`,
  "load-filter": ({ policy }) => `prepare the seccomp filter: ${policy.allow.length} system calls allowed`,
  "spawn-stage": ({ namespaces }) =>
    `spawn the stage, which ${namespaces.length > 0 ? `makes new ${namespaces.join(" and ")} namespaces and ` : ""}waits for its program`,
  "take-whole": () => "go on in the whole program",
  "hand-over": ({ title }) => `hand over the program and its fds to the stage, now "${title}"`,
  "open-namespaces": ({ namespaces }) => `open the ${namespaces.join(" and ")} namespaces that the stage has made`,
  "write-id-maps": ({ base, size }) => `map ids 0..${size - 1} inside to ${base}..${base + size - 1}`,
  "map-owners": ({ fd, recursive, mapping }) =>
    `show the owners of ${fd} as ${mapping === null ? "the machine's ids" : mappingText(mapping)}${flagText(recursive ? ["recursive"] : [])}`,
  "hold-machine": ({ pid, cgroup }) => `take hold of the machine by pid ${pid}, open ${cgroup}`,
  "set-oom-score": ({ of, score }) => `set ${of === "init" ? "init's" : "the stage's"} oom_score_adj to ${score}`,
  "open-mounts": ({ fd }) => `open the machine's mount namespace as ${fd}`,
  "note-mount": ({ fd, file, target }) => `note ${fd} as what is mounted on ${target} in ${file}`,
  "check-mount": ({ fd, target }) => `check that ${fd} is a mount that berth bind made on ${target}`,
  await: ({ sync, from, says }) => `#${sync} wait for ${from}: ${says}`,
  signal: ({ sync, to, says, carries }) =>
    `#${sync} tell ${to}: ${says}${carries.length > 0 ? ` (with ${carries.join(", ")})` : ""}`,
  "begin-keeper": ({ foreground }) => `start a session${foreground ? ", end with berth" : ""}`,
  "raise-limits": ({ limits }) =>
    `have the machine inherit the kernel's limits: ${limits.map(({ name, hard }) => `${name} ${hard ?? "unlimited"}`).join(", ")}`,
  "unshare-mounts": () => "leave the host's mount namespace for a copy that is a slave of it",
  "move-keeper": ({ path }) => `become a child of berth in ${path}/supervisor`,
  "join-network": ({ fd }) => `enter the network namespace ${fd}`,
  "clone-init": ({ namespaces, ahead, cgroup }) => {
    const made = ahead.length > 0 ? `the ${ahead.join(" and ")} namespaces made ahead and ` : "";
    const others = namespaces.filter((namespace) => !ahead.includes(namespace));
    return `clone init into ${made}new ${others.join(", ")} namespaces in cgroup ${cgroup}`;
  },
  "clone-inside": ({ namespaces, cgroup }) =>
    `clone init into the machine's ${namespaces.join(", ")} namespaces in cgroup ${cgroup}`,
  "act-as": ({ uid }) => `make files as host id ${uid} from here on`,
  "park-mount": ({ fd }) => `attach ${fd} in a place of the keeper's own`,
  "attach-root": ({ fd }) => `attach ${fd} as the root`,
  "mount-tmpfs": ({ target, mode, flags, options }) =>
    `mount tmpfs on ${target}${flagText([...flags, `mode=${mode.toString(8)}`, ...options])}`,
  "make-directory": ({ path, mode }) => `make directory ${path} mode=${mode.toString(8)}`,
  "make-node": ({ path, major, minor }) => `make device ${path} c ${major}:${minor}`,
  "make-symlink": ({ path, target }) => `link ${path} -> ${target}`,
  "set-read-only": ({ path }) => `make ${path} read-only`,
  "write-file": ({ path, text }) => `write ${path} (${text.length} characters)`,
  attach: ({ fd, target, create }) =>
    `attach ${fd} on ${target}${create === null ? "" : ` (made if missing: ${create})`}`,
  "make-mount-point": ({ path }) => `make directory ${path} if it is missing`,
  "make-inaccessible": ({ path }) => `make a node of every type in ${path} that nobody inside may open`,
  cover: ({ target }) => `cover ${target} with a node of its type that nobody inside may open`,
  mask: ({ path, over }) => `cover ${path} with an empty ${over}`,
  "lock-read-only": ({ path, except }) =>
    `cover ${path} with itself, read-only${except === null ? "" : ` but for ${except}`}`,
  console: ({ owner }) => `make a terminal of the machine's own its /dev/console, owned by ${owner}`,
  "copy-file": ({ target, replace }) =>
    `copy the host's file to ${target}${replace ? ", replacing what is there" : ""}`,
  "replace-symlink": ({ path, target }) => `link ${path} -> ${target}, replacing what is there`,
  "delete-file": ({ path }) => `remove ${path}`,
  "enter-root": () => "pivot into the root, detach the host's mounts",
  "leave-root": () => "go back to the host's mount namespace",
  "make-file-system": ({ fd, type, options, flags }) => `make ${type} as ${fd}${flagText([...flags, ...options])}`,
  "make-overlay": ({ fd, lower, upper, limits }) =>
    `make overlay of ${lower.toReversed().join(", ")} and ${upper ?? `a file system in memory${flagText(limits)}`} as ${fd}`,
  "combine-layers": ({ fd, lower, upper, flags }) =>
    `make overlay of ${lower.toReversed().join(", ")}${upper === null ? "" : ` and ${upper.data} of ${upper.fd}`} as ${fd}${flagText(flags)}`,
  "open-terminal": () => "open a terminal of the machine's own",
  "enter-users": () => "enter the machine's user namespace",
  "lock-mount": ({ fd }) => `copy what is attached there, which locks it, as ${fd}`,
  "enter-mounts": ({ fd }) => `enter the mount namespace ${fd}`,
  "attach-inside": ({ fd, target, create }) =>
    `attach ${fd} on ${target}${create === null ? "" : ` (made if missing: ${create})`}`,
  "open-inside": ({ fd, path }) => `open ${path} as ${fd}`,
  detach: ({ fd }) => `unmount ${fd}`,
  "label-process": ({ context }) => `have what is executed labelled ${context}`,
  "become-root": ({ foreground }) => `become root of the namespace${foreground ? ", die with the keeper" : ""}`,
  "start-session": () => "start a session",
  unshare: ({ namespaces }) => `enter new ${namespaces.join(" and ")} namespaces`,
  "loopback-up": () => "bring the loopback interface up",
  "make-api-file-systems": () => "have a child make the kernel's file systems",
  "lock-mounts": () => "copy the mounts into a namespace of the machine's own, which locks them",
  "mount-own-tmpfs": ({ target, mode, flags, options }) =>
    `mount tmpfs on ${target}${flagText([...flags, `mode=${mode.toString(8)}`, ...options])}`,
  "set-hostname": ({ hostname }) => `set the hostname to ${hostname}`,
  "join-keyring": () => "join a new session keyring",
  stdio: ({ from }) => `connect stdin, stdout and stderr to ${from === "console" ? "/dev/console" : "the caller's"}`,
  "set-limits": ({ limits }) => `set ${limits.length} resource limits to the kernel's defaults`,
  "set-umask": ({ mask }) => `set the umask to 0${mask.toString(8)}`,
  "set-personality": ({ bits }) => `show programs a machine of ${bits} bits`,
  "set-affinity": ({ cpus }) => `run on CPUs ${cpus.join(",")} only`,
  "stay-as-init": () => "clone the payload as PID 2, be the init that reaps and passes signals on",
  "change-directory": ({ path }) => `change to the directory ${path}`,
  "become-user": ({ uid, gid, groups }) => `become user ${uid}, group ${gid}, with groups ${groups.join(",")}`,
  "raise-ambient": ({ capabilities }) => `pass ${capabilities.length} capabilities on to what a user executes`,
  "set-limit": ({ name, soft, hard }) => `limit ${name} to ${soft ?? "unlimited"}:${hard ?? "unlimited"}`,
  "no-new-privileges": () => "let no program gain privileges",
  "drop-bounding-set": ({ keep, last }) => `keep ${keep.length} of ${last + 1} capabilities in the bounding set`,
  "set-capabilities": ({ mask }) => `set capabilities to 0x${mask}`,
  "load-seccomp": () => "load the seccomp filter",
  execute: ({ candidates, argv, init }) =>
    `execute ${[program(candidates), ...argv.slice(1)].join(" ")}${init === undefined ? "" : ` (init: ${init})`}`,
};

export function describe(step: Step): string {
  const description = DESCRIPTIONS[step.kind] as (args: unknown) => string;
  return printable(description(step.args));
}

function memberText(users: readonly BoundUser[]): string {
  const groups = users[0]?.groups ?? [];
  return groups.length === 0 ? "" : `, members of ${groups.map(({ name }) => name).join(", ")},`;
}

function mappingText({ uids, gids }: IdMapping): string {
  const text = (lines: IdMapping["uids"]): string =>
    lines.map(({ disk, host, count }) => `${disk} as ${host}${count === 1 ? "" : ` (${count})`}`).join(", ");
  const same = text(uids) === text(gids);
  return same ? `other ids: ${text(uids)}` : `other ids: users ${text(uids)}, groups ${text(gids)}`;
}

/** A path, two that will do, or a name with the directories it is looked for in. */
function program(candidates: readonly string[]): string {
  if (candidates.length < 3) return candidates.join(" or ");
  const name = candidates[0]?.slice(candidates[0].lastIndexOf("/") + 1);
  return `${name} (from ${candidates.map((path) => path.slice(0, path.lastIndexOf("/"))).join(":")})`;
}

function flagText(flags: readonly (MountFlag | string)[]): string {
  return flags.length === 0 ? "" : ` ${flags.join(",")}`;
}

/** Paths and names come from settings and trees: no control or bidirectional character in them may reach a terminal. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}
