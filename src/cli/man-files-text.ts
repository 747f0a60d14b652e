/** The section of berth(1) that says which files there are, in the markup of man-roff.ts. */
export const FILES_TEXT = `# FILES

_/etc/berth/machines/NAME.nspawn_, _/run/berth/machines/NAME.nspawn_
: Settings of machine _NAME_, with drop-ins in _NAME.nspawn.d/*.conf_. The first file found in this order counts.

_/etc/systemd/nspawn/NAME.nspawn_, _/run/systemd/nspawn/NAME.nspawn_
: Read after these two, unless *BERTH_ROOT* or *BERTH_ETC* is set.

_/var/lib/machines/NAME.nspawn_
: Read last, and with care: see *berth.nspawn*(5).

_/etc/berth/enabled/NAME_
: A link to the tree of each machine that *berth enable* has told berthd to start.

_/var/lib/machines/NAME/_
: The tree.

_/var/lib/machines/NAME.mstack/_, _/var/lib/machines/.berth-layers/_
: A stack of layers, which a tree becomes when it is cloned, and where the layers are: see _IMAGES_.

_/var/lib/machines/.berth-ranges.json_
: The ledger: which machine has which range of ids. A machine keeps its range. Ranges that _/etc/subuid_, _/etc/subgid_ and
running containers of *systemd-nspawn*(1) have are left alone.

_/var/lib/machines/.berth-layer-ID-NAME/_
: What an ephemeral machine changed, beside its tree; removed when it ends.

_/var/lib/machines/.berth-temporary-ID-NAME-*/_
: Temporary directories and layers of a machine; removed when it ends.

_/run/systemd/nspawn/locks/_, _/run/systemd/nspawn-uid/_
: Locks of the trees that machines write to and of the ranges of ids they use: *systemd-nspawn*(1) has its own there, and
neither takes what the other has.

_/run/berth/running/NAME/_
: The record of a running machine: _record.json_, _plan.json_ and the console's output, in pieces with their times, in
_console.log_ and _console.log.1_. What *berthd*(8) finds damaged there it sets aside as _record.json.corrupt-TIME_, and makes it anew
of _record.copy.json_.

_/run/berth/running/NAME/binds.json_
: What *berth bind* has mounted in it, which *berth unbind* takes away and nothing else.

_/run/berth/running/NAME/apply.json_
: What *berth apply* has bound in it, and how to take back what waits to be confirmed.

_/run/berth/history/NAME/1_, _2_, ...
: What earlier boots of a machine left, the last five: console, exit record, _plan.json_ and _record.json_. Boots of throw-away machines and mere
commands are not kept.

_/run/berth/running/NAME/console.lock_
: Locked by who types on its console.

_/run/berth/locks/NAME_
: Locked while a machine of that name runs.

_/var/lib/machines/NAME.raw_
: A disk image that a machine runs from (see _IMAGES_).

_/var/lib/machines/.berth-origins/NAME.json_
: What an image was bootstrapped from, as a lock file. It goes where the image's settings go.

_/etc/berth/recipes/NAME.ini_
: Recipes of this host, see _RECIPES_.

_/var/lib/machines/.berth-making-*/_
: An image that is being made or removed. What is left of a killed berth goes with the next one, or by *berth clean*.

_/run/berth/images/NAME_
: Locked while something is done to an image; says what.

_/etc/berth/import-pubring.gpg_, _/etc/systemd/import-pubring.gpg_, _/usr/lib/systemd/import-pubring.gpg_
: The first that exists holds the keys that *berth pull-tar* and *pull-raw* trust.

_/etc/berth/remotes.conf_
: Servers of images, written by *berth remote*: a section for each, named as it is, with *url=* and *protocol=simplestreams*. Those that come with
berth are in _bootstrap/remotes.conf_.

_/etc/berth/registries.conf_
: Servers of registries that are called otherwise, or are to be asked without encryption: a section for each, named as in references, with
*server=* and an address. Those that come with berth are in _bootstrap/registries.conf_.

_/etc/berth/auth.json_, _/run/containers/0/auth.json_, _/root/.config/containers/auth.json_, _/root/.docker/config.json_
: Credentials for registries, as *containers-auth.json*(5) has them. The first that has some for a registry counts.

_/var/cache/berth/_
: Bootstrapped trees (_trees/_), downloads that can be gone on with or were to be kept (_downloads/_), and compiled filters of system calls (_seccomp/_). All of it can be made again.`;
