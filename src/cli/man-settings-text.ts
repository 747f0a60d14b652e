import { RESOLV_CONF_MODES } from "../spec/machine-spec.ts";

/**
 * What of berth.nspawn(5) is written by hand, in the markup of man-roff.ts. `settings` gives the items of a section,
 * from the table.
 */
export function settingsPage(settings: (section: string) => string): string {
  return `
# NAME

berth.nspawn - settings of berth's machines

# SYNOPSIS

_/etc/berth/machines/NAME.nspawn_

_/run/berth/machines/NAME.nspawn_

_/etc/berth/machines/NAME.nspawn.d/*.conf_

# DESCRIPTION

A settings file says what runs in a machine of *berth*(1), what it may do and what of the host it sees. The format is that of
*systemd.nspawn*(5), and a file written for *systemd-nspawn*(1) works as it is, within what is in effect (see _NOT IN
EFFECT YET_) and with other defaults (see _DEFAULTS_). A machine needs no settings file. *berth check* finds everything wrong
with one; *berth cat* prints those of a machine in the order they apply; *berth plan* shows what comes of them.

# SYNTAX

    # /etc/berth/machines/web.nspawn
    [Exec]
    Environment=TZ=UTC "GREETING=good day"
    DropCapability=CAP_NET_RAW

    [Files]
    BindReadOnly=/srv/data
    Bind=/srv/www:/var/www:idmap

A file is UTF-8 text: sections, and in them assignments of the form _Key_=_value_. White space around keys and values is
dropped. Case counts. There are no specifiers: a percent sign is an ordinary character.

Lines that start with "#" or ";" are comments. A line that ends with a backslash goes on in the next one, with a space in
place of the backslash; comments in between are left out.

Words of *Parameters=* and *Environment=* are separated by spaces and may be quoted, whole or in part, by single or double
quotes; backslashes are ordinary characters there. The paths of *Bind=* and its like are separated by colons, and a
backslash before a colon makes it part of the path; quotes are ordinary characters there.

Of a setting with one value the last assignment holds. Where "Assignments add up" is said below, each adds to the ones
before. An empty assignment (_Key_=) undoes all before it, also those of a file that was read earlier; *systemd-nspawn*(1)
itself does so for settings with one value, *Parameters=* and *Environment=*, and passes over other empty ones.

Unknown keys and sections are warned about, with the nearest name that there is, and have no effect; those that start
with "X-" are passed over in silence. A value that can't be read is an error. All errors are reported at once, as
_file_:_line_:_column_, and the machine does not start.

# FILES AND TRUST

_NAME_ is the machine's name, or that of its tree's directory where *--machine* is not given. The first _NAME.nspawn_ found
counts, in the order of this list; then the drop-ins _NAME.nspawn.d/*.conf_ of all these directories are read, in the order of
their file names. Options of *berth run* and *berth plan* come last.

_/etc/berth/machines/_, _/run/berth/machines/_
: Trusted. *BERTH_ROOT*, *BERTH_ETC* and *BERTH_RUN* move them, see *berth*(1).

_/etc/systemd/nspawn/_, _/run/systemd/nspawn/_
: Trusted. Looked into only while settings are in _/etc/berth_.

_/var/lib/machines/_
: Not trusted: a file beside a tree may have come with it. But in a checkout of berth its own _machines/_ is trusted.

Trusted places make a file trusted only if it belongs to root and nobody else may write to it. Of an untrusted file only
settings that say so below count: they can neither reach the host nor widen what the machine may do. Its other
settings are named in warnings and ignored.

# DEFAULTS

Some settings that a file does not mention mean something else than with *systemd-nspawn*(1):

*PrivateUsers=pick*
: Each machine has user ids of its own. *systemd-nspawn*(1) without options shares the host's. *PrivateUsers=no* does that.

*Private=yes*
: Each machine has a network of its own, for now with the loopback interface only. The host's network has to be asked for
by *Private=no*: *VirtualEthernet=no* alone does not mean it.

*PrivateUsersOwnership=auto*
: Trees keep the owners they have on disk, from id 0 or from another multiple of 65536 on, and are mounted with mapped ones.
*systemd-nspawn*(1) does so with *PrivateUsers=pick* only, and else leaves owners as they are, which is *off*.

# NOT IN EFFECT YET

This version of berth reads every setting of *systemd.nspawn*(5), but does not do all of them yet. One that is listed under
"Not in effect yet" is checked for its syntax, and an error if it asks for something else than what berth does anyway.
So a machine is never weaker or other than its settings say. The values said to be accepted are those that ask for
nothing.

# VALUES

_BOOL_ is yes, no, true, false, on, off, 1 or 0. _PATH_ is absolute. _SIGNAL_ is a name or a number, such as SIGTERM,
SIGRTMIN+3 or 15. _CAPABILITY_ is a name such as CAP_NET_ADMIN, a number, or all; capabilities are separated by spaces or commas.
_TIME_ is a number of seconds, or as *systemd.time*(7) has it: 500ms, 5s, 2min 30s, and where a setting says so infinity.
What is in brackets may be left out, and dots stand for more of the same.

# [EXEC] SECTION

What runs, and what it may do.

${settings("Exec")}

# [FILES] SECTION

What the machine's file system is made of.

${settings("Files")}

# [NETWORK] SECTION

What the machine is connected to.

${settings("Network")}

# [MACHINE] SECTION

What *berthd*(8) does with a machine that it manages, beyond one boot of it. This section is berth's own, with the names and values of
*systemd.service*(5). *systemd-nspawn*(1) warns of it in a file that both read; in a drop-in of
_/etc/berth/machines/NAME.nspawn.d_ it is out of its sight. *berth run* does not use it: it boots a machine once, in the foreground.

    # /etc/berth/machines/web.nspawn.d/restart.conf
    [Machine]
    Restart=on-failure
    RestartSec=2s
    TimeoutStopSec=2min 30s

What holds is what the files said when the machine was last booted; for one that an earlier daemon has booted, what they say now. How often
a machine was started again, why, and how long it waits for that is shown by *berth list*.

${settings("Machine")}

# OWNERS OF BIND MOUNTS

A machine's users are other users to the host, and a bind mount shows what the host has. The last part of *Bind=*, as in
*/srv/www:/var/www:idmap*, says how owners are told; it is a list separated by commas:

*noidmap*
: The default. Owners stay the host's. What belongs to users outside of the machine's range shows as nobody's (65534), and
root inside has no more rights on it than others have. Files made inside belong to ids of the machine's range. A path
of the tree itself (with a plus sign) has the owners that the tree has.

*idmap*
: User _N_ of the host shows as user _N_ inside, root as root. Files made inside by root belong to the host's root: bind
only what the machine may have in that way.

*rootidmap*
: The user and the group that have the source itself on the host show as root's inside, and what root inside makes is
theirs. Other owners show as nobody's. (*systemd-nspawn*(1) takes the user's number for the group as well.)

*owneridmap*
: The same, but they show as who has the target in the tree, or as root's where the tree has none. The target can't lie in
something else that is mounted.

File systems that have no mounts with mapped ids (overlayfs, NFS, and tmpfs before Linux 6.3) can be bound with *noidmap* only.

*rbind*, *norbind*
: With what is mounted below the path, which is the default, or without.

# ORDER OF MOUNTS

What the settings mount is mounted by target, one that lies in another after it, whatever the order in which they are
written; that is also what *systemd-nspawn*(1) does. Of one target the last of this list is on top, and a warning says what it
hides: *Bind=* and *BindReadOnly=* in the order written, *TemporaryFileSystem=*, *Overlay=* and *OverlayReadOnly=*, *Inaccessible=*. A target is a place in the machine's root as it
is by then: links in it are followed, and never out of it. What is missing of it is made, and taken away again when the
machine has ended, unless it lies in a directory of the host. Targets may lie in */tmp*, */run* and */dev*, which are fresh in
each machine. Root inside can neither unmount nor remount what has been mounted so, but with *PrivateUsers=no*.

# SEE ALSO

*berth*(1), *berth-nspawn*(7), *systemd.nspawn*(5), *systemd.service*(5), *systemd.time*(7), *capabilities*(7), *mount_namespaces*(7), *user_namespaces*(7)
`;
}

/** By key: what the table's one line of help leaves open. */
export const DETAILS: Readonly<Record<string, string>> = {
  Boot: "Without it a command is PID 1, or a shell. Default: *yes* with *berth start* and *berth plan* _NAME_, else *no*.",
  ReadOnly:
    "With what is mounted below it on the host; */dev*, */run*, */tmp* and what other settings mount stay as they are. Several " +
    "read-only and volatile machines may use a tree at a time, and none that writes to it. A directory that it lacks for a " +
    "mount is made in it, and stays. In a tree that was never booted writable some of systemd's services fail, since " +
    "they make their directories in */var*. Not with a chown of the tree, nor with *copy-*, *replace-* and *delete* of " +
    "*ResolvConf=* or their like of *Timezone=*.",
  PivotRoot:
    "Both are paths of the tree; the first one is looked for in it, the second one is made in the new root where that has none. " +
    "Users, the init and the sources of *Bind=+* are looked for in the new root. Locks and *Ephemeral=* are the whole tree's. " +
    "Where the tree is not to change, the old root is read-only. Not with a chown of the tree.",
  Volatile:
    "*yes*: the root is a file system in memory with nothing but the tree's */usr*, read-only, and empty */etc*, */root* and " +
    "*/var*. The tree has to have its programs in */usr* (merged /usr); an init that asks questions at its first boot, as " +
    "*systemd-firstboot*(1), does so at each (with *systemd.firstboot=off* as its argument it does not). Users are known by " +
    "number only. *state*: the tree is read-only, */var* is empty and in memory. *overlay*: all that the machine changes in " +
    "its tree is in memory; in a user namespace that needs Linux 6.6. What is in memory may take a quarter of the " +
    "host's. Not with *ReadOnly=yes*, nor with a chown of the tree; with *Ephemeral=yes* others may change the tree meanwhile.",
  Ephemeral:
    "Without *--machine* such a machine gets a name that is free, so that several of a tree may run at once. It is a layer of overlayfs " +
    "over the tree: what that takes for marks of its own in there is not seen inside (devices 0:0, attributes that begin with " +
    "user.overlay, and some files that have these, as containers in a machine leave them). A copy by *berth clone* has it all.",
  Parameters:
    "Ignored where the command line says how to start: by a command, by *--boot*, and so by *berth start*, which passes it. " +
    "*systemd-nspawn*(1) takes it only together with *Boot=* or *ProcessTwo=*, of whatever value.",
  Environment:
    "Of a variable given twice the last value holds. Of itself PID 1 has *container=berth*, where *systemd-nspawn*(1) has " +
    "*container=systemd-nspawn*; */run/host/container-manager* says the same.",
  Capability: "CAP_NET_ADMIN is among the default ones if the machine has a network of its own.",
  KillSignal: "See STOPPING and INITS in *berth*(1).",
  PrivateUsers:
    "*pick*: a range of 65536 ids that nobody else has: the one that the tree was chowned to, or else the one that the machine " +
    "keeps. *yes*: the 65536 ids that the owner of the tree's root directory is of. _BASE_[:_SIZE_]: this range, by default of " +
    "65536 ids. *identity*: a user namespace whose ids are the same as the host's. *no*: none, root inside is root on the host.",
  NotifyReady: "*berth start* asks for it where the init is systemd. Without it see INITS in *berth*(1).",
  SystemCallFilter: "Groups are those of *systemd.exec*(5). What a start itself needs can't be denied.",
  ResolvConf:
    `One of ${RESOLV_CONF_MODES.map((mode) => `*${mode}*`).join(", ")}. *auto* leaves it alone in a machine with a network ` +
    "of its own, and else takes the stub of systemd-resolved or the host's file, as a copy if /etc can be written to, and else bound " +
    "over the tree's own, if it has one.",
  Timezone:
    "One of *off*, *copy*, *bind*, *symlink*, *delete*, *auto*. *auto* makes it a link to the host's time zone, if the " +
    "tree has that one and /etc can be written to.",
  Bind:
    "With the default *PrivateUsers=pick* root inside is another user than the host's root, and can't write to what belongs to " +
    "the host's root, unless _OPTIONS_ has *idmap*; *rootidmap* lets it write to what belongs to the source's owner. " +
    "The second path is where it is inside, by default the same; it is made where the tree has none, and taken away " +
    "again, unless others may use the tree too (*ReadOnly=*, *Volatile=state*). An empty first path, as in *:/cache*, is a " +
    "temporary directory in */var/lib/machines*, which is the machine's root's and removed with the machine. See _OWNERS OF BIND MOUNTS_ " +
    "for _OPTIONS_.",
  TemporaryFileSystem:
    "Of mode 0755, and root's; with _OPTIONS_ of mode 1777, unless they say. They are those of *mount*(8) for tmpfs, separated " +
    "by commas: ro, rw, nosuid, suid, noexec, exec, noatime, relatime, strictatime, nodiratime, *size=*, *nr_inodes=*, *nr_blocks=*, " +
    "*mode=*, *uid=*, *gid=*, *huge=*, noswap, inode32, inode64; ids are the machine's. No device node in it works. See _ORDER OF MOUNTS_.",
  Overlay:
    "The first path is the lowest layer, the last one the target, the one before that the layer which takes all changes; with two " +
    "paths the second is both. A plus sign names a path of the tree. An empty layer before the target is a temporary directory in " +
    "*/var/lib/machines*. A layer that is written to is one machine's at a time, and can't be a mount point: a work directory is made beside it, and removed with the machine. " +
    "Owners of the host's layers are the machine's of the same number, as with *idmap*, root among them; so no file system can be a " +
    "layer that can't map ids, but with *PrivateUsers=no*. Marks of overlayfs are attributes that begin with user.overlay, where " +
    "those of *systemd-nspawn*(1) begin with trusted.overlay; no device node works. See _ORDER OF MOUNTS_.",
  OverlayReadOnly: "Otherwise as *Overlay=*: all layers are only read.",
  Inaccessible:
    "It has to be there, as anything, also below */proc* or */sys*. What covers it is a node of the same type, empty, of mode 000 " +
    "and of an owner that the machine does not have, on a file system that is read-only: nobody inside can open it, or list it; " +
    "with *PrivateUsers=no* and *identity* root finds it empty. A directory above it that root inside may rename it can rename, and " +
    "then what is there at the next start is covered. See _ORDER OF MOUNTS_.",
  BindReadOnly: "Otherwise as *Bind=*.",
  LinkJournal:
    "*host*: the journal is in */var/log/journal/ID* of the host, which is made as the machine's root's and bound. *guest*: it stays in " +
    "the tree, and the host has a link to it. *try-host*, *try-guest*: the same, or nothing where that can't be. *auto*: the host's " +
    "directory is bound if it is there and belongs to the machine's root, which is not the host's. Not with *Ephemeral=*, nor without a machine id, or with the host's. " +
    "Machines are told apart by their ids: a copy of a tree has the same, and needs one of its own (empty */etc/machine-id* in it). What is " +
    "another machine's is not taken: a directory with journals that are not of the machine's root, or one in use by a machine that runs; " +
    "a link to elsewhere is replaced by *host* and *guest* only. The directory, and the link that *guest* and *try-guest* make, stay on the host when the machine has ended.",
  BindUser:
    "The home directory is */run/host/home/NAME* inside, and records of the user and a group of the same name are in " +
    "*/run/host/userdb*, with an id from 60514 to 60577 and the hash of the password. The tree needs *nss-systemd*(8) " +
    "(Debian: libnss-systemd) to find them. Only the user's own files have an owner inside. Not with *PrivateUsers=no*. Each " +
    "*--bind-user-group=GROUP* on the command line makes all of them members of a group of the machine, which is not looked for.",
  BindUserShell: "*no*: the machine's default. *yes*: the one on the host.",
  PrivateUsersOwnership:
    "*map*: the mount shows the owners on disk as the machine's. *chown*: they are changed on disk, with ACLs and file " +
    "capabilities, to a range that is a multiple of 65536 and has 65536 ids. The tree must not be in use, read-only or " +
    "have anything mounted in it. A start that is interrupted leaves a mark: the next one goes on. *off*: owners are left " +
    "as they are; what is not of the machine's range is nobody's inside. *auto*: *map*, or *chown* where the file system " +
    "can't map (overlayfs, NFS, and tmpfs before Linux 6.3).",
  Private: "See _DEFAULTS_.",
  NamespacePath:
    "A file such as */run/netns/NAME* of *ip netns add*. Instead of *Private=yes*; the machine has no rights over it.",
  ProcessTwo:
    "PID 1 reaps what is left to it, ends when the command does, with its status, and passes signals on to it. SIGRTMIN+3 and " +
    "SIGRTMIN+4, as *berth poweroff* sends, end the command by SIGTERM and SIGHUP and power the machine off, after 90 s in " +
    "any case; SIGRTMIN+5, as *berth reboot* sends, reboots it. Not together with *Boot=*; of the two on the command " +
    "line, which *berth start* adds *--boot* to, one replaces what files say of both.",
  User:
    "By name of the tree's /etc/passwd, or by number, which needs no entry there. Groups are those of its /etc/group; HOME, " +
    "USER, LOGNAME and SHELL are set, and LANG is C.UTF-8. Nothing of the tree is run to find out. Not for an init.",
  AmbientCapability:
    "Of those that the machine has, see *Capability=*; not *all*. Not for an init, and root has them without.",
  SuppressSync:
    "*fsync*(2) and its like succeed at once, and *open*(2) with O_SYNC or O_DSYNC fails with EINVAL. *openat2*(2) is not " +
    "looked into.",
  RestrictAddressFamilies:
    "The first assignment says whether it is a list of what may be used or, after ~, of what may not; later ones add to it " +
    "or, if of the other kind, take away. *none*: no family. *socket*(2) of others fails with EAFNOSUPPORT; a 32-bit x86 " +
    "program that uses *socketcall*(2) gets no socket at all. The families that heed no network namespace are never there.",
  Restart:
    "*no*: never. *on-failure*: when its PID 1 is killed or exits with a status that is not 0, out of memory included, and when it is not " +
    "booted or ready in time after a restart. *always*: also when it powers itself off. A machine that *berth poweroff* or " +
    "*berth terminate* ends stays so, and a reboot is none of this. A *berth start* that can't " +
    "boot it fails, and is not repeated. What was pending when the daemon was killed comes after its next start.",
  RestartSec:
    "It doubles with each restart in a row, up to a minute, where it is not longer itself; a machine that has run for a minute begins anew.",
  StartLimitBurst:
    "The first start is one of them. When they are used up the machine is *failed*, which *berth list* shows with the reason; " +
    "*berth start* boots it, and counts anew. *0*: there is no limit.",
  StartLimitIntervalSec: "*infinity*: since *berth start*. *0*: there is no limit.",
  TimeoutStartSec:
    "Of *berth start* without *--timeout*, and of each restart: then it is killed, which counts as a failure of a restart. *infinity* or " +
    "*0*: it may take any time. When it is ready see INITS in *berth*(1).",
  TimeoutStopSec:
    "Of *berth poweroff* without *--timeout*: then it is killed. *infinity* or *0*: it may take any time.",
  WorkingDirectory:
    "Resolved inside the machine, by the user that the command runs as. Default: */*; for the shell that runs where there is no " +
    "command the user's home directory, if that is there.",
  Personality: "*x86* or *x86-64* on an x86-64 host, *arm* or *arm64* on an arm64 host.",
  OOMScoreAdjust:
    "From -1000 (never) to 1000 (first), see *proc_pid_oom_score_adj*(5). Holds for what *berth exec* starts, too.",
  CPUAffinity:
    "Numbers and ranges of CPUs, separated by spaces or commas. Where the machine starts: it may change that.",
};
