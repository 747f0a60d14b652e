import { pathInTree } from "../spec/pivot.ts";
import { error, type Problem } from "../spec/problem.ts";
import { keeping, writesTree } from "../spec/root-kind.ts";
import type { JournalFacts } from "./facts.ts";
import { knownMachineId, machineId, type PlanInput, rootId } from "./input.ts";
import { host, keeper } from "./make-step.ts";
import { removesMountPoints } from "./root.ts";
import type { Step } from "./step.ts";

/** Where systemd-journald(8) keeps journals on disk, on the host as in a machine: a directory for each machine id. */
export const JOURNALS = "/var/log/journal";

/**
 * What LinkJournal= comes to (systemd-nspawn(1), --link-journal=). bind: the host's directory is the machine's, made if
 * it has to be. link: the host has a link to the machine's. linked: it has it already.
 */
type Way =
  | { readonly way: "nothing" }
  | { readonly way: "linked" | "link" }
  | { readonly way: "bind"; readonly make: boolean }
  | { readonly way: "refused"; readonly what: string; readonly hint: string };

const NOTHING: Way = { way: "nothing" };

function journalWay(input: PlanInput): Way {
  const { spec, machine, host: facts } = input;
  const mode = spec.linkJournal.value;
  if (mode === "no" || machine.journal === null || spec.ephemeral.value) return NOTHING;
  const isTry = mode === "auto" || mode.startsWith("try-");
  const refuse = (what: string, hint: string): Way => (isTry ? NOTHING : { way: "refused", what, hint });
  if (!isIdKept(input))
    return refuse("the machine has no id that it keeps, and journals are told apart by it", "MachineID= gives it one");
  if (machineId(input) === facts.machineId)
    return refuse("the machine has the host's own machine id", "rm etc/machine-id in the tree, or MachineID=");
  if (!machine.journal.kept)
    return refuse(`the host keeps no journals on disk: ${JOURNALS} is no directory`, `mkdir ${JOURNALS}`);
  if (machine.tree.readOnly && isTry) return NOTHING;
  if (machine.journal.usedBy === "another")
    return refuse(`${placesOf(input).path} is in use by another machine, with the same machine id`, COPY_HINT);
  return mode.endsWith("guest") ? guestWay(input, refuse) : hostWay(input, refuse);
}

/** Set, or in the tree, or for an init to put there. */
function isIdKept({ spec, machine }: PlanInput): boolean {
  return knownMachineId(spec, machine.tree) !== null || (spec.boot.value && writesTree(spec));
}

const HOST_HINT = "LinkJournal=host keeps the machine's journal on the host";

type Refuse = (what: string, hint: string) => Way;

function guestWay(input: PlanInput, refuse: Refuse): Way {
  const journal = input.machine.journal;
  const { path, target } = placesOf(input);
  if (input.machine.storage.kind !== "directory")
    return refuse(`${input.spec.root.value} is no directory of the host that a link could lead into`, HOST_HINT);
  const kept = keeping(input.spec);
  if (kept !== null) return refuse(`${kept.machine} keeps no journal in its tree`, HOST_HINT);
  if (journal === null || !journal.isPlainInTree)
    return refuse(`${JOURNALS} of the tree is reached by a link, which would lead the host elsewhere`, HOST_HINT);
  const { entry } = journal;
  if (entry.type === "link" && entry.target === target) return { way: "linked" };
  if (entry.type === "link") return replaceLink(input, { way: "link" });
  if (entry.type === "missing") return { way: "link" };
  if (entry.type !== "directory") return refuse(`${path} is neither a directory nor a link`, "move it away");
  if (entry.isMountPoint) return refuse(`${path} is a mount point`, "umount it");
  if (isForeign(input, entry.owner)) return refuseForeign(input, entry.owner, refuse);
  if (entry.isEmpty) return { way: "link" };
  const what = `${path} has journals already, and a link would have to take its place`;
  return refuse(what, "LinkJournal=host uses it; or move it away");
}

function hostWay(input: PlanInput, refuse: Refuse): Way {
  const { path, target } = placesOf(input);
  const isAuto = input.spec.linkJournal.value === "auto";
  const { entry, isPlainInTree } = input.machine.journal ?? NO_JOURNAL;
  // Where a link of the tree leads there may be no place for it: an error of the step itself, if it has to be.
  if (!isPlainInTree && input.spec.linkJournal.value !== "host") return NOTHING;
  if (entry.type === "directory") {
    if (entry.isMountPoint) return refuse(`${path} is a mount point`, "umount it");
    // Its id is the tree's to choose: what root of the host has could be the host's own, of an id it had before.
    if (isAuto && (entry.owner !== rootId(input) || entry.owner === 0)) return NOTHING;
    if (isForeign(input, entry.owner)) return refuseForeign(input, entry.owner, refuse);
    if (entry.owner !== rootId(input) && !entry.isEmpty)
      return refuse(
        `${path} has journals of root's`,
        `chown ${rootId(input)}:${rootId(input)} ${path}, or move it away`,
      );
    return { way: "bind", make: !isAuto };
  }
  if (isAuto) return entry.type === "link" && entry.target === target ? { way: "linked" } : NOTHING;
  const make: Way = { way: "bind", make: true };
  if (entry.type === "link" && entry.target !== target) return replaceLink(input, make);
  return entry.type === "missing" || entry.type === "link"
    ? make
    : refuse(`${path} is neither a directory nor a link`, "move it away");
}

/** It may be another machine's, which has the same id: only who insists replaces it, as with systemd-nspawn. */
function replaceLink({ spec }: PlanInput, way: Way): Way {
  return spec.linkJournal.value.startsWith("try-") ? NOTHING : way;
}

/** Where the host keeps none. */
export const NO_JOURNAL: JournalFacts = {
  kept: false,
  entry: { type: "missing" },
  isPlainInTree: false,
  usedBy: "nobody",
};

const COPY_HINT = "a copy of a tree needs an id of its own: empty its etc/machine-id, or MachineID=";

/**
 * Of a machine with other ids, which may be running: only the host's root and the machine's own make way. While the machine
 * itself runs, its ids are in use, and a plan has others.
 */
function isForeign(input: PlanInput, owner: number): boolean {
  return input.machine.journal?.usedBy !== "itself" && owner !== 0 && owner !== rootId(input);
}

function refuseForeign(input: PlanInput, owner: number, refuse: Refuse): Way {
  const { path } = placesOf(input);
  const what = `${path} belongs to id ${owner}, another machine's root, which has the same machine id`;
  const root = rootId(input);
  return refuse(what, `${COPY_HINT}; if that journal is this machine's: chown ${root}:${root} ${path}`);
}

/** On the host, and of the tree as the host sees it. */
function placesOf(input: PlanInput): { readonly path: string; readonly target: string } {
  const path = `${JOURNALS}/${machineId(input)}`;
  return { path, target: `${input.spec.root.value}${pathInTree(input.spec, path)}` };
}

/** Of the journal of machines with this id, in the directory of locks that all berths of a host share. */
export function journalLock({ trees }: Pick<PlanInput["places"], "trees">, id: string): string {
  return `${trees}/journal-${id}`;
}

/** On the host, before anything of the machine is there. */
export function journalSource(input: PlanInput): Step[] {
  const way = journalWay(input);
  const { source } = input.spec.linkJournal;
  const { path, target } = placesOf(input);
  if (way.way === "nothing" || way.way === "refused") return [];
  const lock = host(
    "lock-use",
    { path: journalLock(input.places, machineId(input)), directory: path, as: "journal" },
    source,
  );
  if (way.way !== "bind")
    return [lock, ...(way.way === "link" ? [host("link-journal", { path, target }, source)] : [])];
  return [
    lock,
    ...(way.make ? [host("make-journal", { path, owner: rootId(input) }, source)] : []),
    host(
      "clone-tree",
      {
        fd: "journal",
        path,
        inside: null,
        recursive: false,
        flags: ["nosuid", "nodev", "noexec"],
        propagation: "private",
      },
      source,
    ),
  ];
}

/** In the machine's root, with what else is mounted there. */
export function attachJournal(input: PlanInput): Step[] {
  const { way } = journalWay(input);
  const { source } = input.spec.linkJournal;
  const { path } = placesOf(input);
  if (way === "link" || way === "linked") return [keeper("make-mount-point", { path, remove: false }, source)];
  if (way !== "bind") return [];
  return [
    keeper(
      "attach",
      { fd: "journal", target: path, create: "directory", api: false, remove: removesMountPoints(input) },
      source,
    ),
  ];
}

export function journalFits(input: PlanInput): readonly Problem[] {
  const { spec, machine } = input;
  if (spec.privateUsers.value.mode === "pick" && machine.rangeBase === null) return []; // said elsewhere
  const way = journalWay(input);
  const { value, source } = spec.linkJournal;
  return way.way === "refused" ? [error(source, `LinkJournal=${value}: ${way.what}`, way.hint)] : [];
}
