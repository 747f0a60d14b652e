/** The section of berth(1) about the store, in the markup of man-roff.ts. */
export const IMAGES_TEXT = `# IMAGES

An _image_ is what a machine runs from: a tree, or a disk image in a file _NAME.raw_. Names and meaning of the verbs are those of *machinectl*(1). On btrfs
trees that berth makes are subvolumes: a clone is a snapshot and takes no time and no space, and an image can have a limit where
quotas are on (*btrfs quota enable*). The store has one for all of them together where its directory is a subvolume; what images and
snapshots share counts once in it, and images can be removed when it is reached. Elsewhere a tree is a directory. A clone of it shares the blocks of its files where the file
system can (XFS); on ext4, F2FS and tmpfs both become _stacks of layers_; else it is a copy. *berth show-image* says in _Why_ which it would be now, and why:
a directory from which a machine runs, or that has snapshots, is copied there, too, and *berth clone* says so on stderr.

A stack, _NAME.mstack_, has links to _layers_, directories in _.berth-layers_ of the store that nothing changes any more, and in
_rw/data_ what was written since: the machine's root is an overlay of them, with all that Ephemeral=, ReadOnly= and Volatile= can do.
The first clone of a directory _NAME_ makes it a layer, so that its files are in _.berth-layers/ID/tree_ then; the image is still called
_NAME_. What was written to a stack becomes one more layer when it is cloned or has a snapshot made; one from which a machine runs is left as it
is, and what was written is copied. *berth show-image* lists the layers, with what the image alone takes as _UsageExclusive_.
A layer goes when the last stack and snapshot that has it is removed. A clone of a stack of 20 layers that was written to since is a copy. *--driver=directory*
makes a plain directory of the clone, with a copy of all files; *--driver=stack* asks for layers where they are not the default. In a stack *Bind=+...*,
*Overlay=+...*, *PivotRoot=* and *PrivateUsersOwnership=chown* can't be had, which are about a tree in one directory.
Form and names are those of *systemd.mstack*(7). A directory that has snapshots stays a directory until they are removed.

An image is there whole or not at all: what makes one works under a hidden name, writes it to the disk and renames it. What a
killed berth has left goes with the next one, or by *berth clean*, which also removes hidden images, those whose names begin with a dot.
What a command has made is on the disk when it ends. Who clones or imports by the bus (*machinectl clone*, *import-tar*) has the answer when the image is whole, and *berthd*(8) writes it to the
disk right after: where the power is cut in between it is no image any more, as files may be missing in it, and *berth clean* removes what is left of it.

No image is removed, renamed or marked while a machine runs from it, be it one of berth, of another berth root or of
*systemd-nspawn*(1). It can be cloned and exported: on btrfs a clone is of one moment, as after a power cut, elsewhere and in
an archive each file is as it was when it was its turn. A clone has a copy of the
settings, unless the new name has some already, and the same host name, machine id and keys; empty _/etc/machine-id_ in it for
another one. A renamed image takes its settings and its range of ids along, a removed one has them removed.

*berth read-only* sets the immutable flag of *chattr*(1) on the root of a tree, as *machinectl* does, or a subvolume's own mark. A
machine that is started by the name of a marked image is started as with *ReadOnly=yes*.

A _snapshot_ keeps an image and its settings as they are at one moment, hidden in the store. The processes of a machine that runs from the
image are stopped for a moment, and go on whatever comes of it: on btrfs for some milliseconds; where files are copied (of a
directory, also with shared blocks, and of what was written to a stack) that is done before, and they are stopped for a look at all names, some milliseconds for ten
thousand, and the copy of what they have changed of late. In memory (tmpfs), and on file systems that do not note each change, they are stopped for the
whole copy, and so they are for a tree with more than a million names, with directories 1000 deep, or with more of them than berthd may have files open. For how
long it was is said on stderr, and by *--json*. A machine that boots again in the midst of it has no snapshot made, which is said, too. Of a disk image that a machine may write to only
shared blocks (XFS, btrfs) are a copy of one moment; elsewhere that is refused. What the machine had written before is
on the disk; programs in it find what they would find after a power cut. _NAME@SNAPSHOT_ stands for a snapshot where an image is read (*clone*, *export-tar*, *show-image*,
*image-status*), and for *rename* and *remove*. Snapshots are renamed with their image; an image that has some is removed only with *--snapshots*.

*berth rollback* first makes a copy of the snapshot, so that whatever can fail does before a machine is stopped, and then exchanges tree and
settings. Should it be killed in between, whoever comes next to the image goes on with it: tree and settings are both of the snapshot, or
both as they were. The image's name, range of ids, mark and limit stay. What was replaced, settings included, is a snapshot of its own: *--undo* goes back
to it, *--confirm* removes it.

A disk image has a partition table, or is one file system (ext4, XFS, Btrfs, SquashFS, EROFS). In a GPT the root is the
partition of the type that the Discoverable Partitions Specification has for the processor (of several the newest by its label), or
else the only one of type "Linux"; in an MBR the bootable partition of type 83, or the only one. Partitions for _/usr_, _/home_, _/srv_,
_/var_ and _/var/tmp_ are mounted there, those of boot loaders on _/boot_ and _/efi_ where these are there (and, of an EFI system
partition, empty); flags that say read-only or not to be mounted are heeded. *berth plan* lists what is mounted. Encrypted
partitions are refused, and so is an image beside which a file _NAME.roothash_ asks for dm-verity. A machine may change the image
unless the image is marked read-only or the machine is read-only, ephemeral or volatile: then several may run from it at a time, and have
it as it is on the disk. What a journal still holds after a power cut is put right when a machine next may write to the image. Boot loaders'
partitions that the kernel has no file system for are left out. Loop devices and mounts are the
machine's alone and go with it, however it ends.

The partition table is read by *partx*(8) and *blkid*(8) without any rights, and only the file systems above and FAT are given to the
kernel, with nodev always. What a damaged or hostile file system does to the kernel's driver is another matter: take disk images from
where you take kernels.

*berth diff* reads both trees through no link and opens no device; it exits with 0, with *--exit-code* 1 where anything differs, and 2 when it fails.

*berth guard* is for changes that may go wrong, such as *berth guard web -- apt-get -y dist-upgrade*. The machine has to run under berthd. Whatever fails, the command, the reboot, the wait for the machine to be ready or the
check, and a ^C at any moment, ends with the machine booted as it was before; what was undone is kept as after a rollback. A second ^C does not wait for the command.
Nothing is begun while another machine, a throw-away copy say, runs from the same image, which could not be rolled back then.
On success the snapshot stays, and the last line says how to go back.

Archives are unpacked by the host's *tar*(1) (GNU's) in namespaces of its own, where there are the host's programs, read-only, the new tree,
and nothing else. Owners are numbers; times, hard links, holes, ACLs, user attributes and capabilities are kept, trusted
attributes are left out. Refused, with nothing left, is what is cut, damaged or empty, has names with "..", wants
out of the tree, or leaves less than 256 MB (on a small file system, a twentieth) of the disk. Where the tree is the only directory
of the archive, that one becomes the image. Gzip is unpacked by *igzip*(1) (Debian's isal) where that is installed, three times as fast
as by *gzip*(1); it is packed by *pigz*(1) where that is installed. Whatever follows a whole archive is not looked at.

*berth import-raw* writes zeros as holes. It takes raw images and, where *qemu-img*(1) is installed, qcow2; whatever is in them, an image that no
machine could run from is kept and said. Refused as cut are a qcow2 with clusters beyond its end, a raw image whose file system (ext2 to ext4, xfs, btrfs,
squashfs, erofs) says that it takes more bytes than there are, and a GPT of a larger disk that nobody can read therefore; what may have been cut otherwise is said. While a machine may change a disk image, it is neither exported nor packed, and cloned only where
the file system shares blocks (XFS, btrfs): then the clone is what a power cut would have left. *berth export-tar* packs the tree
that a machine would have, with all its partitions, so that *import-tar* makes a plain tree of it.

*berth pull-tar* and *berth pull-raw* download to the disk, verify, and only then unpack. With *--verify=signature* the list of checksums has to be
signed by a key of the keyring (see _FILES_): inline in _URL.sha256_, or by _SHA256SUMS.gpg_ beside _SHA256SUMS_. A redirect from
https to http is not followed.

It is *berthd*(8) who downloads, and goes on with it when the client is gone: *berth list-transfers* shows what goes on (with *--all* also what became of the last ones),
*berth cancel-transfer* (or ^C in the client that waits) ends it. When a connection breaks the rest is asked for by
another one, five times, where the server has a name (*ETag*) or a date for what it sent. What came of a download that
failed or was cancelled is kept in the cache for a week, and the next one of the same address goes on from there; at most 16 files
and 32 GB are. With *--keep-download=yes* a download is kept when it has become an image, too: the next one asks the server
only whether it has changed. The variables _http_proxy_, _https_proxy_ and _no_proxy_ of the environment name proxies; where there are none of
them, those of berthd's environment do.

*berth pull* takes images from servers of LXC's and Incus's protocol (simplestreams) by the names that users of these know:
_images:debian/12_, _images:debian/12/cloud_, _images:alpine/3.20/arm64_, or _images:_ and the beginning of a fingerprint. Of several
versions it takes the newest, of a tree in an archive and one in a file system (squashfs, which needs *unsquashfs*(1)) the archive. Sizes
and checksums, and that of both files together, are those of the server's index, which https vouches for. The host name
and hosts file that an image has a template for are written with the machine's name; what other templates would write is left
as it is in the image. Settings do not come with images. *berth remote* shows and changes which servers there are, *berth
list-images REMOTE:* what one has.

*berth pull-oci* takes images from registries of the OCI distribution protocol, as Docker's and others', by references that say which
registry: _docker.io/library/alpine:3.20_, with a digest for just that one. Of several platforms it takes the host's, or that of *--arch*. Manifests,
configuration and layers (tar, by gzip or zstd) are held against their digests and sizes. Each layer is unpacked
as archives are; a link in one of them never leads another anywhere. Where a stack of layers suits the file system best, or with
*--driver=stack*, they stay layers, which images that begin alike share: those that are here already are neither downloaded nor kept
again. Elsewhere, with *--driver=directory*, and for images of more than 15 layers they become one tree. What the
image says of how to run it (command, variables, user, directory, stop signal) becomes _NAME.nspawn_ among the settings, unless there is one: *berth
run -M NAME* runs that command, as PID 1 and with the rights of any machine. Ports and volumes that it names are not
looked at. A registry that wants to know who asks gets the credentials that *skopeo*(1), *podman*(1) or *docker*(1) keep for
root, or those of _auth.json_ among the settings; with none, berth asks as anybody. On this host itself (_localhost_, _127.0.0.1_)
registries are asked by http, others by https.`;
