/** berthd(8), in the markup of man-roff.ts. */
export const DAEMON_PAGE = `
# NAME

berthd - manager of system containers

# SYNOPSIS

*berthd* [*--root* _DIR_]

*berth daemon* *start* | *stop* [*--machines*] | *status*

# DESCRIPTION

berthd manages the machines of one berth root: it boots them, waits for them to be ready, restarts them, and tells how they ended.
Whatever *berth*(1) does to machines in the background goes through it, by a socket of its own; programs reach it by D-Bus.

Machines don't depend on it. A _keeper_ beside each machine records its console and its end, hears its init, and holds its
locks; so berthd can be stopped, upgraded or killed at any moment. The next one takes the running machines over, cleans up after a
start that was interrupted, goes on with restarts that were pending, and still knows which machines have failed and why. What was written down of a
machine and is damaged it sets aside (_NAME.corrupt-TIME_), and says so; the record of one that runs it makes anew of a copy. A command that *berth exec*
runs without a terminal ends with the berthd that runs it, as downloads do.

While none runs nobody starts again what ends, and what is shown of a machine is as its keeper and the last berthd left it: *berth list*, *show*, *status* and *why*
say so. They know of a machine that has failed meanwhile, and since when, and of one that the next berthd is to boot. *berth start*, *poweroff*,
*reboot*, *terminate*, *pause*, *resume* and *wait* start a berthd for a machine of it; what works in a machine, *berth exec* and *shell* say, needs none.

There is one berthd a root; a second one waits until the first has ended, or says which process that is. It needs root. Where
systemd runs the host, _berthd.service_ starts it; where none runs *berth* starts it in the background when a command needs it, and
says so.

When it is started for the first time after the host's boot it starts the machines that *berth enable* names, four at a time.

# OPTIONS

*--root* _DIR_
: Keeps everything below _DIR_, as *BERTH_ROOT* does.

# SIGNALS

*SIGTERM*, *SIGINT*, *SIGHUP*
: Ends it. Machines go on; what clients are waiting for is given up, and they are told. *berth daemon stop --machines* powers the
machines off first.

# THE SERVICE MANAGER

With *NOTIFY_SOCKET* set it says READY=1 when clients are served, on the bus too if there is one, STATUS=, STOPPING=1, and, where *WATCHDOG_USEC* asks for
it, WATCHDOG=1 twice in that time, from the same loop that does all its work: a daemon that hangs is restarted. See
*sd_notify*(3).

# WHO MAY DO WHAT

On its socket reading (*list*, *show*, *status*, *wait*, *events*) is open to every user of the host, everything else to
root, by what the kernel says of who has connected. Users other than root are shown settings from files that they could read
themselves, and nothing of any console. On D-Bus each method of _org.freedesktop.machine1_ and _org.freedesktop.import1_ has the
polkit action that systemd-machined's has; without polkit only root may do more than read.

# LOGS

Log lines have a level, and where there is one the machine and the operation: what a client asked for and a number, as
*start#46* of the socket and *PullTar#47* of the bus, also on what comes of it later, as a machine's end belongs to its start. They go to stderr: on a terminal for
people, under systemd with the journal's priorities, else one JSON object a line. A berthd that *berth* has started writes to
_/run/berth/berthd.log_; when that is longer than 1 MiB at a start it becomes _berthd.log.1_.

On the bus it has _org.freedesktop.LogControl1_, under each of its names: *busctl set-property*
changes its LogLevel while it runs, and its LogTarget, whom lines are for: auto (as above), console (people),
journal (where that reads them), or null (nobody). Everybody can read them, root sets them, and one that starts anew begins as before.

# ENVIRONMENT

*BERTH_ROOT*, *BERTH_ETC*, *BERTH_RUN*, *BERTH_MACHINES*, *BERTH_CACHE*
: Where things are; see *berth*(1).

*BERTH_LOG_LEVEL*
: From which level on lines are logged: trace, debug, info (the default), warn, error or fatal.

*DBUS_SYSTEM_BUS_ADDRESS*
: The bus it is on instead of the host's system bus. Where there is none, it starts one of its own at _/run/berth/bus_;
*berth daemon status* shows its address, which *machinectl*(1) can use.

# FILES

_/run/berth/berthd.sock_
: Its socket, for *berth*(1): lines of JSON.

_/run/berth/berthd.lock_
: Locked by the berthd of this root, whose pid is in it.

_/run/berth/machines.json_
: The machines as they are now, for *berth list* of root; not there while that changes. Others are told by berthd, without what a
machine says of itself, why one has failed, and where its tree is.

_/run/berth/state/NAME.json_
: Why a machine has failed, and whether it was about to be started again. A file that is damaged is renamed to
_NAME.json.corrupt-TIME_ and named in the log; one of a newer version is left alone.

_/run/berth/history/NAME/_
: What earlier boots left; see *berth logs*.

_/run/berth/enabled-started_
: The id of the host's boot for which enabled machines have been started.

_/etc/berth/enabled/_
: Links to the trees of the machines that are started with the host.

# EXIT STATUS

*0*
: It was told to end.

*1*
: It could not start: one line on stderr says why, and mostly what to do.

*2*
: Wrong usage.

# SEE ALSO

*berth*(1), *berth.nspawn*(5), *machinectl*(1), *systemd-machined.service*(8), *sd_notify*(3)
`;
