/**
 * Parts of a root directory at /mnt, in a mount namespace of its own, for programs of the host that handle what is not
 * trusted. Of mount(8) and its like because these are on every host.
 */

/**
 * The host's programs and libraries, which can't be written to there. $directories and $links may have what else is to be
 * made in /mnt: each process takes a millisecond, and who unpacks or packs an archive waits for all of them.
 */
export const VIEW_PROGRAMS = `
links=\${links:-}
mkdir /mnt/usr \${directories:-}
for name in bin sbin lib lib32 lib64 libx32; do
  if [ -L "/$name" ] && [ "/$name" -ef "/usr/$name" ]; then links="$links usr/$name"
  elif [ -L "/$name" ]; then cp -P "/$name" /mnt/
  elif [ -d "/$name" ]; then mkdir "/mnt/$name"; mount -o bind,ro,nosuid,nodev "/$name" "/mnt/$name"
  fi
done
[ -z "$links" ] || ln -s $links /mnt/
mount -o bind,ro,nosuid,nodev /usr /mnt/usr
`;

/** Makes the view the root directory, and takes the host away: /mnt/old has to be there, and a /proc, for umount(8). */
export const VIEW_ENTER = `
cd /mnt
pivot_root . old
umount -l /old
`;

/** All but user namespaces: root has to give files to every owner. Its init is the shell, whose end ends all. */
export const VIEW_NAMESPACES: readonly string[] =
  "--mount --propagation private --pid --fork --kill-child --ipc --uts".split(" ");
