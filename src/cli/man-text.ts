import { inertOptionsText } from "./inert-options.ts";
import { FILES_TEXT } from "./man-files-text.ts";
import { IMAGES_TEXT } from "./man-images-text.ts";
import { JSON_TEXT } from "./man-json-text.ts";
import { RECIPES_TEXT } from "./man-recipes-text.ts";

/**
 * What of berth(1) is written by hand, in the markup of man-roff.ts. The verbs and their options come from the
 * program's own tables.
 */
export function programPage(verbs: string, sharedOptions: string, notYet: string): string {
  return `
# NAME

berth - boot and manage system containers

# SYNOPSIS

*berth* [*--root* _DIR_] [_OPTION_...] _VERB_ [_OPTION_...] [_ARGUMENT_...]

*berth help* [_VERB_], *berth* _VERB_ *--help*, *berth --version*

# DESCRIPTION

berth boots operating system trees as *system containers*: a whole distribution with an init of its own as PID 1, in
namespaces and a cgroup of its own, on the kernel of the host and without a virtual machine. Such a container is called
a _machine_. Its tree is a directory, made by *berth bootstrap* or otherwise; its settings, which may be absent, are a
file in the format of *berth.nspawn*(5), which is that of *systemd.nspawn*(5).

A machine's name has letters, digits, underscores, dots and hyphens, at most 64 characters; it begins with a letter or a digit,
has no two dots in a row and none at its end, so _.foo_ and _a..b_ are no names. It is the name of its directory in
_/var/lib/machines_, unless *--directory* and *--machine* say otherwise.

A machine gets by default

a user namespace
: Root inside is a user of the host without any rights: the ids 0 to 65535 inside are a range of the host's that no
other machine has (see _FILES_). The tree on disk keeps ids from 0 whatever the range is, since it is mounted with mapped
owners; nothing is chowned unless that is asked for, or its file system can't be mounted so (*PrivateUsersOwnership=* in
*berth.nspawn*(5)).

a network namespace
: It has the loopback interface only.

PID, mount, IPC, UTS and cgroup namespaces
: What of _/proc_ and _/sys_ acts on the host is covered or read-only, and root inside can't take these mounts away.

a filter of system calls, and fewer capabilities
: Limits, signals, environment and open files start clean: nothing of the caller's reaches the machine unless asked for.

Settings and options may ask for less, such as the host's network. Everything that makes a machine weaker than the
default is said when it starts, with the setting or option that asked for it, and shown by *berth list* and *berth status*.

Beside each machine runs a small process, its _keeper_, which records its console and how it ended. Everybody
may use *list*, *status*, *show*, *wait*, *events*, *plan*, *cat*, *check*, *recipes*, *doctor*, *completion*, *version* and *daemon
status*; where these need more than what berthd tells everybody, they leave it out. Who may read the store can use *list-images*,
*image-status* and *show-image*. The other verbs are for root.

A daemon, *berthd*(8), manages the machines that *berth start* boots: it is there for others on the bus, tells who asks what
happens, and starts again what is to be started again. Where systemd is not PID 1 of the host, the first verb that needs it
starts it and says so; *berth daemon* controls it. Machines don't mind when it ends, or is killed: the next one
takes them over. The machine of a *berth run* is that command's, and needs no daemon.

# OPTIONS

*--root* _DIR_
: Keeps everything below _DIR_, as *BERTH_ROOT* does. Stands before the verb.

${inertOptionsText()}

*--*
: Ends the options of *run*, *plan*, *exec* and *shell*. These also end where the first argument stands, of *exec* where the
command begins: what follows belongs to the command.

A verb's options may stand before it too, as in *berth -q list*.

# VERBS

${verbs}

# OPTIONS OF run AND plan

The names are those of *systemd-nspawn*(1). Options come after the settings files: they replace settings that have one
value, and add to the others. An option whose value is in brackets takes it only in the form *--option=*_VALUE_. What each
setting means is described in *berth.nspawn*(5).

${sharedOptions}

Known but not in effect yet, and refused by name unless they ask for what berth does anyway: ${notYet}.

# TERMINAL

*berth run* connects its terminal to the machine's console in one of these modes, chosen by *--console=*_MODE_:

*interactive*
: The default where stdin and stdout are terminals. The terminal is put into raw mode, so that every key goes to the
machine, ^C and ^Z too; its size and *TERM* are passed on. It is put back on every way out.

*read-only*
: The default elsewhere. The console is shown and nothing goes in. A ^C stops the machine (see _STOPPING_).

*passive*
: The console is only recorded.

*pipe*
: The payload gets the caller's stdin, stdout and stderr as they are: pipelines are binary-safe and end where they
should. A terminal among them is replaced by a pipe, since who has a terminal could type into it for the caller. The
machine has a console all the same, unlike one of *systemd-nspawn*(1): it is recorded. The same as *--pipe*.

*autopipe*
: *interactive* where stdin and stdout are terminals, else *pipe*.

With *--background=*_COLOR_ the terminal has that background colour for as long as the machine has it in the interactive mode; the
terminal's own comes back after it, and while *berth* is suspended. By default there is none. It is set as xterm does it, so
that what the machine shows passes unchanged; terminals that don't know OSC 11 stay as they are.

*^]* (Ctrl and the closing bracket) typed three times within a second kills the machine, in the interactive mode. *berth
shell*, *berth login* and *berth exec --tty* run on a terminal of the machine's own in the same way; there the key hangs that terminal up:
its programs get SIGHUP, and SIGKILL two seconds later.

*berth console* shows a running machine's console on any number of terminals, by the log that its keeper writes. One at a time
types: who comes later, or comes while an interactive *berth run* has it, is told which process that is and sees it
only. It needs no daemon, and does not mind when that ends.

# COPYING

*berth copy-to* and *berth copy-from* name what the copy is to be, as *machinectl*(1) has it: a directory that is there is merged
into, not copied into, and files that are there are replaced with *--force* only. The directory that the copy is to be in has
to be there. A link is copied as a link; fifos, sockets and devices are left out, which is said, and so are the file systems
that are the kernel's own words, such as _/proc_.

Users and groups keep their numbers, whatever the range of ids that the machine has: what belongs to root on the host belongs to
root in the copy inside, 1000 is 1000. (*machinectl*(1) makes everything root's where there is a user namespace.) Who has
no number on the other side is nobody there, 65534. Kept are modes, times, extended attributes in _user._, ACLs, further names of one file and holes in
files; capabilities and the set-user-ID and set-group-ID bits of files come into a machine, but not out of it: they would
give a program that the machine has made the rights of a user of the host.

A file appears when it is whole, so whatever ends the copy, no half of one is left. The first thing that fails ends it; what has been
copied stays. Root inside can give a copy no way out of the machine, however it moves things meanwhile; and what of the host is bound into the machine can be
copied over, or out, only as far as the machine's own root may write or read it.

# SESSIONS

Where a machine's systemd is up and has its bus (Debian: dbus, libpam-systemd), *berth shell* asks it for a unit with
*PAMName=login*, as *machinectl shell* does: what runs there is a session that *loginctl* lists, has _XDG_RUNTIME_DIR_ and is in
a cgroup of its own; of a shell that a signal kills the exit status is 255. *berth login* starts *agetty* in such a unit.
Elsewhere a shell is what *berth exec* with a terminal runs, and *berth login* the machine's *login*(1).

# STOPPING

*berth poweroff* and *berth reboot* ask the machine's init in the way that it expects (see _INITS_); for powering off
*KillSignal=* says another one. *berth poweroff* kills a machine that has not ended after *TimeoutStopSec=* of its settings, 90 seconds by default, or
those of *--timeout*, and fails. A machine that ends otherwise may be started again, see *Restart=* in *berth.nspawn*(5). A reboot from inside works the same: *berth run* boots the machine again, after a pause of one to
five seconds where it has done nothing else than reboot fifteen times.

*berth run* stops its machine when it gets SIGTERM, SIGINT, SIGHUP or SIGQUIT: with *--boot* or *KillSignal=* PID 1 is asked
as above, else it gets the very signal that came. A second one kills the machine; so does the first where PID 1 would ignore
it or can't be asked, and 90 seconds without an end. When *berth run* itself is killed, the machine ends with it. Output that nobody reads
holds up the end of *berth run* as it would in any pipeline; once it was told to stop, for 3 seconds only.

*berth exec* passes the same four signals on to its command.

# INITS

What *--boot* executes is the first of _/usr/lib/systemd/systemd_, _/lib/systemd/systemd_ and _/sbin/init_ that is executable.
By the file that its links lead to in the tree berth knows what it is, and how to deal with it:

    INIT      FOUND BY               POWEROFF    REBOOT   READY WHEN
    systemd   .../systemd/systemd    SIGRTMIN+3  SIGINT   it says so
    sysvinit  its text               init 0      init 6   its runlevel is reached
    openrc    .../openrc-init        SIGTERM     SIGINT   its runlevel is reached
    runit     .../runit-init, runit  init 0      init 6   stage 1 is over
    busybox   .../busybox            SIGUSR2     SIGTERM  it runs
    other                            SIGTERM     SIGINT   it runs

"init 0" is that very init, run in the machine as root would type it: sysvinit has no signal for it, and runit wants files of
its own. OpenRC in Debian is started by sysvinit, and is a sysvinit then. runit and openrc-init are asked once they are
ready, since what they are told before gets lost or breaks off their boot half-way.

*berth start* returns when the machine is ready, *berth list* and *berth status* show it as starting until then. With
*NotifyReady=yes* every kind is ready when it says READY=1 as in *sd_notify*(3), and not before. When the boot comes to no end,
*berth start* gives up after *TimeoutStartSec=* of its settings, 90 seconds by default, or those of *--timeout*, and stops the
machine again.

A machine has the terminal _/dev/console_, and no _/dev/tty1_ to _/dev/tty6_. Where an inittab starts a getty on these, as
Debian's does, each one waits ten seconds and ends, and after ten tries sysvinit leaves it alone for five minutes: nothing
but the log suffers. The getty services of Debian's runit take themselves out. For a login on the console instead, comment them out in the machine's _/etc/inittab_ and add what Debian's
has as its last line:

    C0:2345:respawn:/sbin/getty -8 --noclear --keep-baud console 115200,38400,9600

# UNITS

Where systemd runs the host, a machine is in a transient scope _machine-NAME.scope_ of _machine.slice_, or of the one that
*--slice=* names; dashes in a slice's name say what it lies in. The keeper is in _supervisor/_ of the scope's cgroup, the
machine in _payload/_, which is its own to divide. What *--property=* sets, systemd sets of the scope before the machine is
in it: the limits of *systemd.resource-control*(5), written as for *systemctl set-property*. Those that can only be set as a
unit is made, such as RuntimeMaxSec, it refuses, and the start fails.

With *--keep-unit* no scope is made: _supervisor/_ and _payload/_ are in the service or scope that *berth run* was started in, for a
service whose only purpose is this machine. All of the unit's processes move to _supervisor/_. The unit needs Delegate=yes and
can't be a user's session; *--slice=* and *--property=* do nothing then, which is said.

On other hosts a machine's cgroup is below that of *berth run*, and all three options are refused.

# SELINUX

On a host with SELinux *--selinux-context=* names the context that the payload is executed in, and what *berth exec* and
*berth shell* run in the machine; it is written to _/proc/self/attr/exec_ of the host's own proc. *--selinux-apifs-context=* becomes the
mount option _context_ of the machine's file systems in memory and of its terminals. The host's policy has to know both, and to
allow them; berth ships none. Where SELinux is off, both are refused. This has been tested up to the system calls only, not yet
on a host with SELinux.

${IMAGES_TEXT}

${RECIPES_TEXT}

# EXIT STATUS

*0*
: Done. Of *run*: also after the machine powered itself off.

*1*
: Failed. One line on stderr says what, mostly with the fix in a line that starts with "hint:". Of *check*: there is an
error. Of *doctor*: machines with default settings can't run here.

*2*
: Wrong usage, of any verb: an unknown option, a value that an option can't have, an invalid machine name. Nothing has been
done. A wrong line in a settings file is none, that is a failure.

*125*, *126*, *127*
: Of *run*, *replay*, *exec*, *shell* and *login*: berth itself failed, the command can't be executed, there is no such command.

*130*
: Interrupted; what was begun has been undone.

_N_, *128*+_N_
: Of *run*, *replay*, *exec*, *shell* and *login*: the exit status of the command, or that signal _N_ killed it.

# ENVIRONMENT

*BERTH_ROOT*
: Keeps everything below this directory, in _etc_, _run_, _machines_ and _cache_. Two roots know nothing of each other's
machines.

*BERTH_ETC*, *BERTH_RUN*, *BERTH_MACHINES*, *BERTH_CACHE*
: Move one of these alone. By default they are _/etc/berth_, _/run/berth_, _/var/lib/machines_ and _/var/cache/berth_.
A berthd is found by its BERTH_RUN; for who has other settings or machines than it, it starts, copies and downloads nothing.

*NO_COLOR*
: No colours, spinners and progress bars, which otherwise appear on terminals.

*BERTH_DEBUG*
: Internal errors show where in berth they happened.

*TERM*
: Passed on to a machine, or a command in it, that is shown on this terminal.

Of itself a machine's PID 1 has _container=berth_, by which *systemd-detect-virt*(1) and its like know that they are in a
container (*systemd-nspawn*(1) says _container=systemd-nspawn_: what asks for that very word finds another one).

The environment is not passed on otherwise: *run* sets variables by *--setenv* and *Environment=* only, of which
*--setenv=*_NAME_ takes the value that _NAME_ has for *berth* itself.

*CREDENTIALS_DIRECTORY*
: Where *--load-credential=*_ID_:_NAME_ looks for _NAME_: systemd sets it for a service that has credentials.

${FILES_TEXT}

${JSON_TEXT}

# EXAMPLES

Make a Debian machine, boot it and look into it:

    berth bootstrap debian/trixie web
    berth start web
    berth status web
    berth exec web -- systemctl --failed
    berth shell web
    berth poweroff web

Boot it on this terminal; leave by typing ^] three times. To log in, give root a password first: a bootstrapped tree has
none, and *passwd* in *berth shell* sets one:

    berth run -M web -b

Run one command in a throw-away copy of the tree, also while the machine itself runs, with a directory of the host to read:

    berth run -D /var/lib/machines/web -x --bind-ro=/srv/data -- du -sh /srv/data

Fetch lists of packages: a machine has no way out of its own yet, so the host's network is lent to this one command:

    berth run -M web --host-network -- apt-get update

List an archive in a machine; what goes in and out is binary-safe:

    tar c . | berth run -D /var/lib/machines/web -x --pipe -- tar t

See what a start would do, and which setting is behind each step:

    berth plan web

Keep everything in one directory:

    export BERTH_ROOT=/srv/berth
    berth list --json

# SEE ALSO

*berthd*(8), *berth.nspawn*(5), *berth-nspawn*(7), *systemd-nspawn*(1), *systemd.nspawn*(5), *mmdebstrap*(1), *namespaces*(7),
*user_namespaces*(7), *capabilities*(7), *cgroups*(7)
`;
}
