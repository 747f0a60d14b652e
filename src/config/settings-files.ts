import { VOLATILE_MODES } from "../spec/machine-spec.ts";
import { flag, option, optionalValue, section } from "./setting.ts";
import { boolean, matching, oneOf } from "./values.ts";
import { bind, machinePath } from "./values-files.ts";
import { overlay } from "./values-overlay.ts";
import { ownership } from "./values-owners.ts";
import { temporaryFileSystem } from "./values-tmpfs.ts";
import { bindUserShell } from "./values-users.ts";

/** [Files]: what the machine's file system is made of (systemd.nspawn(5), [Files] section options). */
export const FILES = section("Files", {
  ReadOnly: {
    takes: "BOOL",
    help: "mount the tree read-only",
    parse: boolean,
    default: "no",
    options: [flag("--read-only", "yes")],
    safe: true,
    state: "in effect",
  },
  Volatile: {
    takes: "BOOL|state|overlay",
    help: "keep changes in memory only: of everything, of /var, or of all in an overlay",
    parse: oneOf(VOLATILE_MODES, { yes: "yes", no: "no" }),
    default: "no",
    options: [optionalValue("--volatile", "yes")],
    safe: true,
    state: "in effect",
  },
  Bind: {
    takes: "[+]PATH[:PATH[:OPTIONS]]",
    help: "a path of the host (+: of the tree) that the machine sees and may write",
    parse: bind(false, false),
    parseOption: bind(false, true),
    list: true,
    options: [option("--bind")],
    safe: false,
    state: "in effect",
  },
  BindReadOnly: {
    takes: "[+]PATH[:PATH[:OPTIONS]]",
    help: "a path of the host (+: of the tree) that the machine sees read-only",
    parse: bind(true, false),
    parseOption: bind(true, true),
    list: true,
    options: [option("--bind-ro")],
    safe: false,
    state: "in effect",
  },
  BindUser: {
    takes: "USER",
    help: "a user of the host to have inside, with the home directory",
    parse: matching(/^[A-Za-z0-9_][A-Za-z0-9_. -]{0,255}$/, "user name", "a user name"),
    list: true,
    options: [option("--bind-user")],
    safe: false,
    state: "in effect",
  },
  // systemd 258.
  BindUserShell: {
    takes: "BOOL|PATH",
    help: "login shell of the users of BindUser=",
    parse: bindUserShell,
    default: "no",
    options: [option("--bind-user-shell")],
    safe: false,
    state: "in effect",
  },
  TemporaryFileSystem: {
    takes: "PATH[:OPTIONS]",
    help: "an empty file system in memory at a path of the machine",
    parse: temporaryFileSystem,
    list: true,
    options: [option("--tmpfs")],
    safe: false,
    state: "in effect",
  },
  Inaccessible: {
    takes: "PATH",
    help: "a path of the machine that nobody inside may open",
    parse: machinePath,
    list: true,
    options: [option("--inaccessible")],
    safe: false,
    state: "in effect",
  },
  Overlay: {
    takes: "PATH[:PATH...]:PATH",
    help: "several host directories, the topmost written to, as one directory of the machine",
    parse: overlay(false, false),
    parseOption: overlay(false, true),
    list: true,
    options: [option("--overlay")],
    safe: false,
    state: "in effect",
  },
  OverlayReadOnly: {
    takes: "PATH[:PATH...]:PATH",
    help: "several host directories as one read-only directory of the machine",
    parse: overlay(true, false),
    parseOption: overlay(true, true),
    list: true,
    options: [option("--overlay-ro")],
    safe: false,
    state: "in effect",
  },
  PrivateUsersOwnership: {
    takes: "MODE",
    help: "how the tree's owners become the machine's users: mapped by the mount, changed on disk, or not at all",
    parse: ownership,
    default: "auto",
    options: [option("--private-users-ownership"), flag("--private-users-chown", "chown")],
    safe: false,
    state: "in effect",
  },
  // The name that PrivateUsersOwnership= had before systemd 249.
  PrivateUsersChown: {
    takes: "BOOL",
    help: "old name of PrivateUsersOwnership=chown (yes) and off (no)",
    parse: oneOf(["chown", "off"], { yes: "chown", no: "off" }),
    options: [],
    safe: false,
    state: "in effect",
  },
});
