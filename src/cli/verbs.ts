import { FAILURE, type VerbEntry } from "./verb.ts";

/** What verbs are about, as help and the manual show them. */
const GROUPS: Readonly<Record<string, string>> = {
  Machines:
    "list status show why start poweroff reboot terminate kill pause resume wait login shell exec console logs top events " +
    "copy-to copy-from bind unbind set-property",
  Launching: "run plan boot replay apply",
  Settings: "edit cat check enable disable",
  Images:
    "list-images image-status show-image clone rename read-only remove set-limit clean snapshot snapshots rollback diff guard",
  "Getting trees":
    "bootstrap recipes pull pull-oci pull-tar pull-raw remote import-tar import-raw import-fs export-tar export-raw " +
    "list-transfers cancel-transfer",
  Host: "doctor daemon completion version",
};

/** The names of all verbs by what they are about. */
export function verbGroups(): readonly (readonly [string, readonly string[]])[] {
  const all = Object.keys(VERBS);
  const groups = Object.entries(GROUPS).map(([title, names]) => [title, names.split(" ")] as const);
  const known = new Set(groups.flatMap(([, names]) => names));
  const others = all.filter((name) => !known.has(name));
  return others.length === 0 ? groups : [...groups, ["Others", others]];
}

/** Every verb. The summaries are here too, so that `berth help` loads no verb. */
export const VERBS: Readonly<Record<string, VerbEntry>> = {
  list: { summary: "show running machines", load: () => import("./verbs/list.ts") },
  status: { summary: "show one machine", load: () => import("./verbs/status.ts") },
  show: { summary: "print properties of machines", load: () => import("./verbs/show.ts") },
  why: { summary: "explain why a machine does not run", load: () => import("./verbs/why.ts"), rootOnly: true },
  start: { summary: "boot a machine in the background", load: () => import("./verbs/start.ts") },
  poweroff: { summary: "ask a machine's init to shut down", load: () => import("./verbs/poweroff.ts"), rootOnly: true },
  reboot: { summary: "ask a machine's init to reboot", load: () => import("./verbs/reboot.ts"), rootOnly: true },
  terminate: { summary: "kill a machine at once", load: () => import("./verbs/terminate.ts"), rootOnly: true },
  kill: { summary: "send a signal to a machine's processes", load: () => import("./verbs/kill.ts"), rootOnly: true },
  pause: {
    summary: "stop a machine's processes where they are",
    load: () => import("./verbs/pause.ts"),
    rootOnly: true,
  },
  resume: { summary: "let a paused machine go on", load: () => import("./verbs/resume.ts"), rootOnly: true },
  wait: { summary: "wait until a machine runs or has ended", load: () => import("./verbs/wait.ts") },
  top: { summary: "show what machines take, live", load: () => import("./verbs/top.ts") },
  events: { summary: "show what happens to machines, as it happens", load: () => import("./verbs/events.ts") },
  "set-property": {
    summary: "change resource limits of a running machine",
    load: () => import("./verbs/set-property.ts"),
    rootOnly: true,
  },
  logs: { summary: "show what a machine said on its console", load: () => import("./verbs/logs.ts") },
  console: { summary: "connect to a machine's console", load: () => import("./verbs/console.ts"), rootOnly: true },
  exec: {
    summary: "run a command in a machine",
    load: () => import("./verbs/exec.ts"),
    rootOnly: true,
    failure: FAILURE,
  },
  shell: {
    summary: "open a shell in a machine",
    load: () => import("./verbs/shell.ts"),
    rootOnly: true,
    failure: FAILURE,
  },
  "copy-to": {
    summary: "copy files of the host into a machine",
    load: () => import("./verbs/copy-to.ts"),
    rootOnly: true,
  },
  "copy-from": {
    summary: "copy files of a machine to the host",
    load: () => import("./verbs/copy-from.ts"),
    rootOnly: true,
  },
  login: { summary: "log in to a machine", load: () => import("./verbs/login.ts"), rootOnly: true, failure: FAILURE },
  bind: {
    summary: "bind a file or directory of the host into a machine",
    load: () => import("./verbs/bind.ts"),
    rootOnly: true,
  },
  unbind: { summary: "take a bind away again", load: () => import("./verbs/unbind.ts"), rootOnly: true },
  run: {
    summary: "run a machine, or a command in one, here and now",
    load: () => import("./verbs/run.ts"),
    failure: FAILURE,
  },
  boot: {
    summary: "show what a machine's start took its time for",
    load: () => import("./verbs/boot.ts"),
    rootOnly: true,
  },
  plan: { summary: "show what a start would do, without doing it", load: () => import("./verbs/plan.ts") },
  replay: {
    summary: "open a shell in a machine whose start failed, as far as it was built",
    load: () => import("./verbs/replay.ts"),
    rootOnly: true,
    failure: FAILURE,
  },
  apply: {
    summary: "bring a running machine in line with its settings",
    load: () => import("./verbs/apply.ts"),
    rootOnly: true,
  },
  edit: { summary: "edit a machine's settings file", load: () => import("./verbs/edit.ts"), rootOnly: true },
  enable: { summary: "start machines with the host", load: () => import("./verbs/enable.ts"), rootOnly: true },
  disable: {
    summary: "start machines with the host no more",
    load: () => import("./verbs/disable.ts"),
    rootOnly: true,
  },
  cat: { summary: "print a machine's settings files", load: () => import("./verbs/cat.ts") },
  check: { summary: "find everything wrong with settings files", load: () => import("./verbs/check.ts") },
  "list-images": { summary: "show machine images", load: () => import("./verbs/list-images.ts") },
  "image-status": { summary: "show one image", load: () => import("./verbs/image-status.ts") },
  "show-image": { summary: "print properties of images", load: () => import("./verbs/show-image.ts") },
  clone: { summary: "copy an image", load: () => import("./verbs/clone.ts"), rootOnly: true },
  rename: { summary: "give an image another name", load: () => import("./verbs/rename.ts"), rootOnly: true },
  remove: { summary: "remove images for good", load: () => import("./verbs/remove.ts"), rootOnly: true },
  "read-only": {
    summary: "mark an image read-only, or writable",
    load: () => import("./verbs/read-only.ts"),
    rootOnly: true,
  },
  "set-limit": {
    summary: "limit what an image may take on the disk",
    load: () => import("./verbs/set-limit.ts"),
    rootOnly: true,
  },
  clean: { summary: "remove hidden images, or all", load: () => import("./verbs/clean.ts"), rootOnly: true },
  snapshot: { summary: "keep an image as it is now", load: () => import("./verbs/snapshot.ts"), rootOnly: true },
  snapshots: { summary: "show the snapshots of images", load: () => import("./verbs/snapshots.ts"), rootOnly: true },
  rollback: {
    summary: "make an image what it was at a snapshot",
    load: () => import("./verbs/rollback.ts"),
    rootOnly: true,
  },
  diff: {
    summary: "show what has changed since a snapshot",
    load: () => import("./verbs/diff.ts"),
    rootOnly: true,
    failure: 2,
  },
  "pull-raw": {
    summary: "download a disk image and make an image of it",
    load: () => import("./verbs/pull-raw.ts"),
    rootOnly: true,
  },
  guard: {
    summary: "run a command in a machine, and undo all of it if that fails",
    load: () => import("./verbs/guard.ts"),
    rootOnly: true,
    failure: FAILURE,
  },
  "import-tar": {
    summary: "make an image of a tar archive",
    load: () => import("./verbs/import-tar.ts"),
    rootOnly: true,
  },
  "import-raw": {
    summary: "make an image of a disk image",
    load: () => import("./verbs/import-raw.ts"),
    rootOnly: true,
  },
  "import-fs": { summary: "make an image of a directory", load: () => import("./verbs/import-fs.ts"), rootOnly: true },
  "export-tar": {
    summary: "write an image to a tar archive",
    load: () => import("./verbs/export-tar.ts"),
    rootOnly: true,
  },
  "export-raw": {
    summary: "write an image to a disk image",
    load: () => import("./verbs/export-raw.ts"),
    rootOnly: true,
  },
  "pull-tar": {
    summary: "download a tar archive and make an image of it",
    load: () => import("./verbs/pull-tar.ts"),
    rootOnly: true,
  },
  pull: { summary: "download an image from an image server", load: () => import("./verbs/pull.ts"), rootOnly: true },
  "pull-oci": {
    summary: "download an image from a registry of OCI images",
    load: () => import("./verbs/pull-oci.ts"),
    rootOnly: true,
  },
  remote: { summary: "list, add or remove servers of images", load: () => import("./verbs/remote.ts") },
  "list-transfers": {
    summary: "show downloads, imports and exports that are going on",
    load: () => import("./verbs/list-transfers.ts"),
  },
  "cancel-transfer": {
    summary: "end downloads, imports and exports",
    load: () => import("./verbs/cancel-transfer.ts"),
    rootOnly: true,
  },
  bootstrap: { summary: "make a machine from a distribution's packages", load: () => import("./verbs/bootstrap.ts") },
  recipes: { summary: "list what can be bootstrapped", load: () => import("./verbs/recipes.ts") },
  daemon: { summary: "start, stop or show berthd", load: () => import("./verbs/daemon.ts") },
  completion: { summary: "print a script that completes words", load: () => import("./verbs/completion.ts") },
  doctor: { summary: "check whether this host can run machines", load: () => import("./verbs/doctor.ts") },
  version: { summary: "print the version", load: () => import("./verbs/version.ts") },
};
