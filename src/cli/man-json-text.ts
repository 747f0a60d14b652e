/** The section of berth(1) that says what each verb prints with --json, in the markup of man-roff.ts. */
export const JSON_TEXT = `# JSON

With *--json* a verb prints one JSON document on stdout. Names of fields stay; new ones may come. A value that is not
known is *null*.

*berth list*
: An array of machines, each with *name*, *class* (container), *service* (berth), *state* (starting, also between two boots, running, stopping, paused,
failed, with *--all* stopped, or unknown where its record can't be read), *reason* (why it is unknown, has failed or is to be started again; so too of a stopped one that waits for a berthd to run), *restarts* (how often it was started again), *startsAgain* (when it is next, ISO 8601), *os* and *version* (ID and VERSION_ID of its
os-release), *init* (as in _INITS_), *addresses* (an array: those of the machine's own network, for root), *leader* (host PID of its PID 1), *unit*, *since* (ISO 8601), *image* (path of its tree),
*ready*, *times* (*began*, *executed*, *ready*: ms since the epoch; *executedMonotonic*: ms of CLOCK_MONOTONIC) and
*weaknesses* (an array of sentences).

*berth show*
: Of each machine the same fields, and *id* (32 hex digits; of its last boot), *rootDirectory*, *settings* (an array of those that hold: *section*,
*key*, *value* and *source*), *limits* (*memoryMax*, *memoryHigh*, *memorySwapMax* in bytes, *tasksMax*, *cpuQuota* in percent, *cpuWeight*,
*ioWeight*, *allowedCpus*), *usage* (*memory* in bytes, *cpuUsec*, *tasks*), *uidShift* (host id of its root), *cgroup*, *exit* (of one
that does not run: *reason*, which is poweroff, reboot, exited or killed, *status* and *signal*), *restarts*, and *failure* (*reason*, *hint*,
*console*, an array of lines, *time*, and of a start *step*: *index*, *phase* and *describe*), and *enabled*. One machine is an object, several are an array. Without one: *poolPath*, *poolUsage* and *poolLimit* (bytes; null: none).

*berth why*
: *name*, *state*, *sentences*, *lines* (of settings files that are to blame, each *file*, *line* and *text*), *hint*, *console* (its last
lines), *exit* and *restarts*.

*berth status*
: The fields of *berth show*, *console* (its last lines), and of a machine that runs its record: *version* (of the record's form, 1), *name*, *state*, *ready*, *status* (what its init said last), *leader*, *keeper* and *supervisor* (each
*pid* and *startTime*), *bootId*, *cgroup*, *cgroupMount*, *unit*, *root* (its tree), *layer* (directory of an ephemeral
machine's changes), *os* (as its os-release shows it), *osVersion*, *init* (as in _INITS_; stub with *ProcessTwo=*, null for a
command), *requests* (how it is asked to *poweroff* and to *reboot*: each a *signal*, or a *command* that is run in it),
*killSignal* (the signal of the first of these, or null), *uidShift* (host id of its root), *weaknesses* and *times*; and
asked inside, in at most two seconds: *initState* (of systemd; of sysvinit, OpenRC and runit the runlevel) and *boot* (*launch*, *init* and
*ready*: ms each took); *problem* says why nothing could be asked. One machine is an object, several are an array.

*berth top*
: *time* (ISO 8601) and *machines*, an array in the order asked for: each *name*, *state*, *leader*, *cpu* (percent of one CPU, in the last delay), *cpuUsec*,
*cpuQuota*, *memory* and *memoryMax* in bytes, *tasks*, *tasksMax*, *ioRead* and *ioWritten* (bytes in all), *readRate* and *writeRate* (bytes a
second) and *pressure* (*cpu*, *memory*, *io*: percent of the last ten seconds in which something in it waited). With *--follow* one document a line.

*berth boot*
: *machine*, *boot*, *began* (ISO 8601), *init*, *executed* and *ready* (ms since it began), *spans*, an array of parts: each *kind*
(prepare, before it began; step, of the host's plan; phase and unit, of the machine's systemd), *name*, *start* and *end* (ms since it began), *index* and *source* of
a step; *before* (*executed* and *ready* of the boot before), and *problem*, why nothing is known of what its init did.

*berth events*
: One object a line: *type* (new, changed or removed), *machine*, and *view*, its fields as in *berth list* (null when it has gone).

*berth daemon status*
: *pid*, *bus* (an address of D-Bus that *machinectl*(1) can be given by DBUS_SYSTEM_BUS_ADDRESS; null: it is on none), *socket*,
*root* (the directory that all is below; / where berth is installed, null where its parts are in places of their own), *version* and *machines* (how many run);
*null* where no daemon runs.

*berth logs*
: An array of lines, each with *time* (ISO 8601, when it was begun) and *text* (as it was said, control sequences included);
with *--follow* these objects, one a line.

*berth plan*
: *machine* and *steps*, an array of *index*, *phase*, *kind*, *describe* (a sentence), *source* (file:line, the option, or default),
*args* and *undo*. With *--diff*: *machine*, *boot* and *began* (of the start that it is compared with), and *changes*, an array of steps with
*change* (- or +) and *detail* (what is different in a step that is described as before).

*berth apply*
: *machine*, *differences*, an array of *kind* (live, restart or outside), *what* and *source*; *applied* (whether the live ones have been made)
and *confirmBy* (ISO 8601).

*berth cat*
: *name*, as given; *files*, an array of *path*, *trusted*, *distrust* (why it is not, or null), *ignored* (problems as those of
*berth check*, with their *key*) and *text*; and *settings*, an array of those that hold: *section*, *key*, *value* and *source*, as of *berth check*.

*berth check*
: An array of problems: *severity* (error or warning), *source* (*from*: file, option or default; of a file *file*, *line* and
*column*, of an option *option*), *what*, and where there is something to say *expected* and *hint*.

*berth list-images*
: An array of images, each with *name*, *type* (directory, subvolume or raw), *readOnly*, *usage* and *limit* (bytes),
*usageExclusive* and *limitExclusive* (of these what no other image shares), *created* and *modified* (ISO 8601; null for trees),
*path*, *parent* (the image whose files it shares), *driver* (what keeps it) and *why* (that one).

*berth image-status*
: An array of the same, with *os*, *hostname* and *machineId* of what is in the image, or *problem*, why nothing is known of that, and, of a
disk image, *partitions*: an array of *number*, *label*, *size* (bytes), *fileSystem* (or what else is in it, or null) and *mountedOn* (null:
a machine does not have it).

*berth show-image*
: The same fields as *list-images*, and *origin* (null, or *recipe*, *release*, *architecture*, *tool*, *created* and *packages* of the
bootstrap it comes from), and of a disk image *partitions* (as in *image-status*): an object for one image, an array for several; without an image an object of the store: *path*,
*usage* and *limit*.

*berth list-images* REMOTE:
: An array of *aliases* (an array), *fingerprint*, *architecture*, *size* (bytes to download), *created* (ISO 8601), *serial*, *description* and *format*
(tar, squashfs or combined).

*berth remote*
: An array of *name*, *url*, *protocol* (simplestreams) and *builtIn*.

*berth import-tar*, *berth import-raw*, *berth import-fs*, *berth pull-tar*, *berth pull-raw*, *berth pull*, *berth pull-oci*
: The image that was made, as in *list-images*.

*berth list-transfers*
: An array of *id*, *type* (pull-tar, pull-raw, pull-oci, import-tar, import-raw, import-fs, export-tar or export-raw), *local* (the image), *remote* (where it comes from or goes to, null
for others than root), *progress* (0 to 1), *state* (running, done, failed or canceled), *verify* and *status* (what it said last; why it failed).

*berth clean*
: An array of what was removed: *name* and *usage* (bytes, or null).

*berth snapshot*
: *image*, *name*, *time* (ISO 8601), *comment*, *driver* (what keeps it), *running* (whether a machine ran from the image), *frozenMs* (for how
long its processes were stopped, or null), *replacedBy* (of what a rollback has replaced: the snapshot it went to, else null) and *berth*
(the version that made it).

*berth snapshots*
: An array of the same.

*berth rollback*
: *kept* (the snapshot that what was there is now) and *restarted*; with *--confirm* *removed*, an array of names.

*berth diff*
: *image*, *from*, *to* (names of snapshots; null: the image now), *files*, an array of *path*, *change* (added, removed or changed), *type* and *what* (an array of
*aspect*, *from* and *to*), *packages*, an array of *manager* (dpkg, apk, pacman or rpm), *added*, *removed* (each *name* and *version*) and *changed* (*name*, *from*, *to*), and
*problems* (sentences about packages that could not be compared).

*berth bootstrap*
: *name*, *path*, *recipe*, *release*, *fromCache*, *packages* (how many) and *seconds*.

*berth recipes*
: An array of *name*, *title*, *tool*, *missing* (what of it this host lacks: *programs*, *debianPackages* that have them, *keyrings*),
*forThisArchitecture* and *releases*, each of these with *name*, *title*, *aliases*, *default* and *cached* (null, or *created*
and *packages* of the tree in the cache).

*berth doctor*
: *findings*, an array of *check*, *state* (ok, warning, failed or unknown), *detail* and mostly *fix*; and what they were found
by: *host* and *survey*, whose fields may change.

*berth version*
: *version* and *runtime*.`;
