/**
 * A small tree that has one of everything a copy could lose: owners, setuid, capabilities, user attributes, ACLs, hard links,
 * holes, old times to the nanosecond, a fifo, a device node, links absolute and dangling, names no shell likes.
 *
 *   needs("root", "tool:python3");
 *   richTree(join(root.machines, "web"));            // manifest(tree), of manifest.ts, compares it with its copies
 */
import { execFileSync } from "node:child_process";

const SCRIPT = String.raw`
import os, struct, sys
os.umask(0)
os.makedirs(sys.argv[1])
os.chdir(sys.argv[1])
for d in ("etc", "usr/bin", "usr/lib", "var/lib", "dev", "srv", "tmp"):
    os.makedirs(d)
def write(path, text, mode=0o644):
    with open(path, "w") as f: f.write(text)
    os.chmod(path, mode)
write("etc/os-release", 'ID=rich\nPRETTY_NAME="A rich tree"\n')
write("usr/bin/setuid", "s", 0o4755)
write("usr/bin/ping", "p", 0o755)
os.chown("usr/bin/ping", 1234, 5678)
os.setxattr("usr/bin/ping", "security.capability", struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0))
write("etc/first", "linked")
os.link("etc/first", "var/lib/second")
write("etc/attribute", "a")
os.setxattr("etc/attribute", "user.berth.test", b"value \x00 with zero")
write("etc/acl", "a", 0o640)
acl = lambda *entries: struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)
none = 0xffffffff
os.setxattr("etc/acl", "system.posix_acl_access",
    acl((1, 6, none), (2, 4, 4242), (4, 4, none), (16, 4, none), (32, 0, none)))
os.setxattr("srv", "system.posix_acl_default",
    acl((1, 7, none), (2, 7, 4242), (4, 5, none), (16, 7, none), (32, 5, none)))
with open("var/lib/sparse", "wb") as f:
    f.seek(64 << 20); f.write(b"end")
write("srv/new\nline", "n")
write(b"srv/not-utf8-\xff\xfe", "n")
write("srv/" + "long" * 60, "l")
os.makedirs("/".join(["deep"] * 60))
os.symlink("/etc/first", "etc/absolute")
os.symlink("../../../../outside", "etc/dangling")
os.symlink("usr/bin", "bin")
os.mkfifo("srv/fifo")
os.mknod("dev/null", 0o020666, os.makedev(1, 3))
os.chmod("tmp", 0o1777)
for name, mode in ("closed", 0o555), ("shut", 0):
    os.makedirs("usr/" + name)
    write("usr/%s/in" % name, "in")
    os.chmod("usr/" + name, mode)
os.chmod(".", 0o755)
with open("var/lib/data", "wb") as f: f.write(os.urandom(1 << 20))
for top, dirs, files in os.walk(".", topdown=False):
    for name in files + dirs + ["."]:
        os.utime(os.path.join(top, name), ns=(10**18, 1234567890123456789), follow_symlinks=False)
`;

export function richTree(path: string): string {
  execFileSync("python3", ["-c", SCRIPT, path], { stdio: ["ignore", "ignore", "inherit"] });
  return path;
}
