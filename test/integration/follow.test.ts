/** The copy of a tree that changes meanwhile, made to follow it. Whatever is missed is seen: all of both is compared. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Follower, TooLarge } from "../../src/image/follow/follower.ts";
import { openFileSystem } from "../../src/sys/sync-fs.ts";
import { manifest } from "../lib/manifest.ts";
import { needs } from "../lib/requires.ts";
import { richTree } from "../lib/rich-tree.ts";

needs("root", "tool:python3", "tool:getcap");
// A follower is a process of its own, whose end closes all that it holds; here it is in this one.
checkLeaks({ except: ["fd"] });

/** Changes a tree in every way there is, one after the other, until it is stopped. */
const CHANGES = `
import mmap, os, random, shutil, sys
os.chdir(sys.argv[1])
rnd = random.Random(int(sys.argv[2]))
for d in ("w/a", "w/b/c", "w/d"): os.makedirs(d)
for i in range(300):
    with open("w/file%d" % i, "w") as f: f.write("x" * 3000)
maps = []
for i in range(3):
    with open("w/map%d" % i, "wb+") as f:
        f.truncate(1 << 16)
        maps.append(mmap.mmap(f.fileno(), 1 << 16))
print("ready", flush=True)
def some(root="w"):
    found = [os.path.join(t, n) for t, ds, fs in os.walk(root) for n in ds + fs]
    found += ["./" + n for n in os.listdir(".") if n.startswith("n")]
    return rnd.choice(found)
def fresh(): return os.path.join(rnd.choice([".", "w", "w/a", "w/b/c", "w/d"]), "n%d" % rnd.randrange(200))
def write():
    p = fresh()
    if os.path.isfile(p) or not os.path.lexists(p):
        with open(p, "w") as f: f.write("y" * rnd.randrange(5000))
def same():
    # content alone: neither size nor times tell
    p = "w/file%d" % rnd.randrange(300)
    s = os.stat(p)
    with open(p, "r+") as f: f.write(chr(rnd.randrange(97, 122)) * 10)
    os.utime(p, ns=(s.st_atime_ns, s.st_mtime_ns))
def mapped(): rnd.choice(maps)[rnd.randrange(1 << 16)] = rnd.randrange(256)
def remove():
    p = some()
    if "/n" in p:
        if os.path.isdir(p) and not os.path.islink(p): shutil.rmtree(p)
        else: os.unlink(p)
def rename(): os.rename("w/file%d" % rnd.randrange(300), "w/file%d" % rnd.randrange(300))
def move():
    p = some()
    if "/n" in p: os.rename(p, fresh())
def link(): os.link("w/file%d" % rnd.randrange(300), fresh())
def symlink(): os.symlink("/nonexistent/x%d" % rnd.randrange(9), fresh())
def directory():
    p = fresh()
    os.mkdir(p)
    open(p + "/in", "w").write("in")
def mode(): os.chmod(some(), rnd.randrange(0o1000) | 0o400)
def owner(): os.chown("w/file%d" % rnd.randrange(300), rnd.randrange(99), rnd.randrange(99))
def attribute(): os.setxattr("w/file%d" % rnd.randrange(300), "user.test", b"v%d" % rnd.randrange(99))
def overlay(): os.setxattr("w/" + rnd.choice("ad"), "trusted.overlay.opaque", rnd.choice([b"y", b"x"]))
def bare():
    try: os.removexattr("w/" + rnd.choice("ad"), "trusted.overlay.opaque")
    except OSError: pass
def whiteout(): os.mknod(fresh(), 0o020000, 0)
def fifo(): os.mkfifo(fresh(), 0o600)
def exchange():
    # another one at its place for a moment
    os.rename("w/a", "w/other"); os.rename("w/d", "w/a"); os.rename("w/a", "w/d"); os.rename("w/other", "w/a")
def trap():
    # a link to what is not in the tree, at the place of a directory
    os.rename("w/b", "w/away"); os.symlink(sys.argv[3], "w/b"); os.unlink("w/b"); os.rename("w/away", "w/b")
acts = [write, same, mapped, mapped, remove, remove, rename, move, link, symlink, directory, mode, owner, attribute, overlay, bare,
    whiteout, fifo, exchange, trap]
while True:
    try: rnd.choice(acts)()
    except (FileExistsError, FileNotFoundError, NotADirectoryError, IsADirectoryError, IndexError): pass
    except OSError as e:
        if e.errno not in (22, 39, 16): raise
`;

interface Turn {
  readonly follower: Follower;
  readonly from: string;
  readonly to: string;
  synced(): Promise<number>;
}

function start(from: string, to: string, { isNew = false, most = 5000 } = {}): Turn {
  if (isNew) mkdirSync(from);
  let copy: number | undefined;
  const follower = new Follower(
    openSync(from, "r"),
    () => (copy ??= openSync(to, "r")),
    most,
    () => undefined,
  );
  const synced = async (): Promise<number> => {
    const begin = Date.now();
    using fileSystem = openFileSystem(from);
    await fileSystem.sync();
    return begin;
  };
  return { follower, from, to, synced };
}

/** cp(1) complains of what goes meanwhile. */
function copy({ from, to }: Turn): void {
  spawnSync("cp", ["-a", "-T", from, to], { stdio: "ignore" });
}

test.each([1, 2, 3, 4, 5, 6])(
  "whatever changes while it is copied: the copy is the tree of the last moment (%i)",
  async (seed) => {
    const work = mkdtempSync(join(tmpdir(), "berth-test-follow-"));
    const from = richTree(join(work, "from"));
    // What a link that comes into the way leads to.
    const host = join(work, "host");
    mkdirSync(join(host, "c"), { recursive: true });
    writeFileSync(join(host, "c/secret"), "of the host");
    const changer = spawn("python3", ["-c", CHANGES, from, `${seed}`, host], { stdio: ["ignore", "pipe", "inherit"] });
    try {
      await once(changer.stdout, "data");
      const turn = start(from, join(work, "to"));
      turn.follower.look(await turn.synced());
      copy(turn);
      for (let index = 0; index < seed % 3; index++) turn.follower.follow(await turn.synced());
      process.kill(changer.pid ?? 0, "SIGSTOP");
      for (let state = ""; !state.startsWith("T"); )
        state = readFileSync(`/proc/${changer.pid}/stat`, "utf8").replace(/^.*\) /, "");
      const before = manifest(turn.to);
      turn.follower.follow(null);
      const wanted = manifest(from);
      expect(manifest(turn.to)).toEqual(wanted);
      expect(before, "there was something to follow").not.toEqual(wanted);
      expect(readFileSync(join(host, "c/secret"), "utf8")).toBe("of the host");
    } finally {
      changer.kill("SIGKILL");
      rmSync(work, { recursive: true });
    }
  },
);

test("what is removed or renamed in the tree's own directory, in each of two turns, goes from its copy", async () => {
  const work = mkdtempSync(join(tmpdir(), "berth-test-follow-"));
  try {
    const turn = start(join(work, "from"), join(work, "to"), { isNew: true });
    const { follower, from, to } = turn;
    for (const name of ["a", "b", "c", "d"]) writeFileSync(join(from, name), name);
    follower.look(await turn.synced());
    copy(turn);
    rmSync(join(from, "a"));
    renameSync(join(from, "b"), join(from, "e"));
    follower.follow(await turn.synced());
    expect(readdirSync(to).toSorted()).toEqual(["c", "d", "e"]);
    rmSync(join(from, "c"));
    renameSync(join(from, "e"), join(from, "f"));
    follower.follow(null);
    expect(readdirSync(to).toSorted()).toEqual(["d", "f"]);
  } finally {
    rmSync(work, { recursive: true });
  }
});

test("files that came with a directory stay one with their other names", async () => {
  const work = mkdtempSync(join(tmpdir(), "berth-test-follow-"));
  try {
    const tree = richTree(join(work, "from"));
    for (const name of ["w/one/in", "w/two/in"]) mkdirSync(join(tree, name), { recursive: true });
    for (const name of ["one", "two"]) {
      writeFileSync(join(tree, "w", name, "in/file"), name);
      linkSync(join(tree, "w", name, "in/file"), join(tree, "w", `other-${name}`));
    }
    const turn = start(tree, join(work, "to"));
    await new Promise((resolve) => setTimeout(resolve, 100)); // longer than a tick
    turn.follower.look(await turn.synced());
    copy(turn);
    renameSync(join(tree, "w/one"), join(tree, "w/moved"));
    turn.follower.follow(await turn.synced());
    expect(manifest(turn.to)).toEqual(manifest(turn.from));
    renameSync(join(tree, "w/two"), join(tree, "w/away"));
    turn.follower.follow(null);
    expect(manifest(turn.to)).toEqual(manifest(turn.from));
  } finally {
    rmSync(work, { recursive: true });
  }
});

test("names of attributes that are no text are kept, and links of links and of fifos stay one", async () => {
  const work = mkdtempSync(join(tmpdir(), "berth-test-follow-"));
  try {
    const turn = start(richTree(join(work, "from")), join(work, "to"));
    turn.follower.look(await turn.synced());
    copy(turn);
    const script = "import os, sys; os.setxattr(sys.argv[1], b'user.\\xff\\xfe', b'v')";
    execFileSync("python3", ["-c", script, join(turn.from, "etc/attribute")]);
    linkSync(join(turn.from, "etc/absolute"), join(turn.from, "etc/same"));
    linkSync(join(turn.from, "srv/fifo"), join(turn.from, "srv/same"));
    turn.follower.follow(null);
    expect(manifest(turn.to)).toEqual(manifest(turn.from));
    for (const [one, other] of [
      ["etc/absolute", "etc/same"],
      ["srv/fifo", "srv/same"],
    ] as const)
      expect(lstatSync(join(turn.to, one)).ino).toBe(lstatSync(join(turn.to, other)).ino);
  } finally {
    rmSync(work, { recursive: true });
  }
});

/** A process that does something with files in `tree` and says "ready" when it has begun. */
async function python(script: string, tree: string): Promise<Disposable> {
  const child = spawn("python3", ["-c", script, tree], { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  return { [Symbol.dispose]: () => void child.kill("SIGKILL") };
}

/** Long files, one after the other, each from its beginning. */
const GROWING = `
import os, sys
os.chdir(sys.argv[1]); data = b"x" * (40 << 20); print("ready", flush=True)
while True:
    for name in "abc":
        fd = os.open(name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY); os.write(fd, data); os.close(fd)
`;

test("a file that is empty when it is found, and is being written: what comes then is for the next turn", async () => {
  const work = mkdtempSync(join(tmpdir(), "berth-test-follow-"));
  try {
    const turn = start(join(work, "from"), join(work, "to"), { isNew: true });
    using _growing = await python(GROWING, turn.from);
    turn.follower.look(0);
    copy(turn);
    for (let index = 0; index < 30; index++) turn.follower.follow(Date.now());
  } finally {
    rmSync(work, { recursive: true });
  }
});

/** Gives its lease up when somebody opens the file, unless it is stopped. */
const LEASE = `
import fcntl, os, signal, sys, time
fd = os.open(sys.argv[1] + "/leased", os.O_RDWR)
os.write(fd, b"changed")
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("ready", flush=True)
signal.sigwait([signal.SIGIO])
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
time.sleep(1000)
`;

import { checkLeaks } from "../lib/leaks.ts";

test("a lease is waited for while the machine can give it up, and is said when it can't", async () => {
  const work = mkdtempSync(join(tmpdir(), "berth-test-follow-"));
  try {
    const turn = start(join(work, "from"), join(work, "to"), { isNew: true });
    writeFileSync(join(turn.from, "leased"), "");
    turn.follower.look(await turn.synced());
    copy(turn);
    {
      using _lease = await python(LEASE, turn.from);
      turn.follower.follow(await turn.synced());
    }
    expect(readFileSync(join(turn.to, "leased"), "utf8")).toBe("changed");
    using _lease = await python(LEASE, turn.from);
    expect(() => turn.follower.follow(null)).toThrow("a process of the machine has a lease on leased");
  } finally {
    rmSync(work, { recursive: true });
  }
});

test("what is too large, or too deep, to be followed is told from what can't be copied", async () => {
  const work = mkdtempSync(join(tmpdir(), "berth-test-follow-"));
  try {
    const turn = start(join(work, "from"), join(work, "to"), { isNew: true, most: 100 });
    turn.follower.look(0);
    copy(turn);
    for (let index = 0; index < 100; index++) mkdirSync(join(turn.from, `${index}`));
    expect(() => turn.follower.follow(null)).toThrow(TooLarge);
    const deep = start(join(work, "deep"), join(work, "to"), { isNew: true });
    mkdirSync(join(deep.from, "d/".repeat(1200)), { recursive: true });
    expect(() => deep.follower.look(0)).toThrow(TooLarge);
  } finally {
    execFileSync("rm", ["-rf", work]);
  }
});

test("what has not changed is not copied again", async () => {
  const work = mkdtempSync(join(tmpdir(), "berth-test-follow-"));
  try {
    const turn = start(richTree(join(work, "from")), join(work, "to"));
    await new Promise((resolve) => setTimeout(resolve, 100)); // longer than a tick
    turn.follower.look(await turn.synced());
    copy(turn);
    expect(turn.follower.follow(await turn.synced())).toBe(0);
    writeFileSync(join(turn.from, "etc/attribute"), "b");
    expect(turn.follower.follow(await turn.synced())).toBe(1);
    rmSync(join(turn.from, "etc/absolute"));
    execFileSync("ln", ["-s", "elsewhere", join(turn.from, "etc/absolute")]);
    turn.follower.follow(null);
    expect(readlinkSync(join(turn.to, "etc/absolute"))).toBe("elsewhere");
    expect(manifest(turn.to)).toEqual(manifest(turn.from));
    const few = new Follower(
      openSync(turn.from, "r"),
      () => 0,
      10,
      () => undefined,
    );
    expect(() => few.look(0)).toThrow(TooLarge);
  } finally {
    rmSync(work, { recursive: true });
  }
});
