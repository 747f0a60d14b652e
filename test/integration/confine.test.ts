/** Where programs read what is not trusted: what they see of the host, and that nothing of them is left whoever dies. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type ConfinedOptions, runConfined, runConfinedAlone } from "../../src/host/confine.ts";
import { closeQuietly } from "../../src/sys/files.ts";
import { makeFileSystem } from "../../src/sys/mounts.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";

needs("root", "tool:setpriv", "tool:python3", "tool:unshare", "tool:mount");
checkLeaks();

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "view-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

async function run(script: string, options: Partial<ConfinedOptions> = {}): Promise<readonly string[]> {
  const lines: string[] = [];
  const { signal } = new AbortController();
  const onLine = (line: string) => void lines.push(line);
  const result = await runConfined(script, [], { directory, writable: true, signal, onLine, ...options });
  return [...lines, result.status];
}

const OK = "ended with status 0";

/** What comes by two is not told in the order in which it was said. */
const ONE_PIPE = "exec 2>&1;";

describe("of the host", () => {
  test("there are the programs, which can't be written to, and the directory", async () => {
    writeFileSync(join(directory, "file"), "inside\n");
    const [names, ...rest] = await run(`${ONE_PIPE} echo /*; pwd; cat file; echo x >new; cat /proc/self/stat`);
    expect(names).toMatch(/^\/bin (\/lib\S* )+\/old \/sbin \/tree \/usr$/);
    expect(rest).toEqual(["/tree", "inside", expect.stringContaining("No such file"), "ended with status 1"]);
    expect(readFileSync(join(directory, "new"), "utf8")).toBe("x\n");
    for (const place of ["/", "/old", "/usr", "/usr/bin"])
      expect(await run(`echo x >${place}/berth-was-here`), place).toEqual([
        expect.stringContaining("Read-only file system"),
        "ended with status 2",
      ]);
    expect(await run("ls -A /old")).toEqual([OK]);
    expect(await run("echo x >new", { writable: false })).toEqual([
      expect.stringContaining("Read-only file system"),
      "ended with status 2",
    ]);
  });

  test("there is no other mount, process or fd, and no other network, host name or IPC", async () => {
    const proc = "mount -t proc proc /old; ";
    const mounts = await run(
      `${proc} while read -r a b c d at options rest; do echo "$at $options"; done </old/self/mountinfo`,
    );
    expect(
      mounts.filter((line) => !/^\/(lib\w*|s?bin) /.test(line)).map((line) => line.replace(/,\w*atime/, "")),
    ).toEqual([...["/ ro,nosuid,nodev,noexec", "/usr ro,nosuid,nodev", "/tree rw,nosuid,nodev,noexec", "/old rw", OK]]);
    expect(await run(`${proc} for each in /old/[0-9]*; do echo "$each"; done`)).toEqual(["/old/1", OK]);
    // 10 is the shell's own.
    expect(await run(`${proc} ls /old/1/fd; readlink /old/1/cwd /old/1/root; exec sleep 0`)).toEqual([
      ...["0", "1", "2", "/tree", "/", OK],
    ]);
    expect(await run(`${proc} cat /old/net/dev | tail -n +3 | cut -d: -f1`)).toEqual([
      expect.stringMatching(/^ *lo$/),
      OK,
    ]);
    const namespaces = "mnt pid ipc uts net".split(" ");
    const theirs = await run(`${proc} for each in ${namespaces.join(" ")}; do readlink /old/1/ns/$each; done`);
    for (const [index, name] of namespaces.entries())
      expect(theirs[index]).not.toBe(execFileSync("readlink", [`/proc/self/ns/${name}`], { encoding: "utf8" }).trim());
    expect(await run(`${proc} grep NoNewPrivs /old/1/status`)).toEqual(["NoNewPrivs:\t1".replace("\t", "?"), OK]);
  });

  test("no abstract socket is there to talk to", async () => {
    const name = `berth-test-${process.pid}`;
    const server = createServer().listen(`\0${name}`);
    const ask = `python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect("\\0${name}")'`;
    execFileSync("sh", ["-c", ask]);
    try {
      expect((await run(ask)).at(-2)).toMatch(/ConnectionRefusedError/);
    } finally {
      server.close();
    }
  });

  test("no device can be opened, and none has a right to make one who works for somebody else", async () => {
    execFileSync("mknod", [join(directory, "zero"), "c", "1", "5"]);
    chmodSync(join(directory, "zero"), 0o666);
    expect(await run("head -c 1 zero")).toEqual([expect.stringContaining("Permission denied"), "ended with status 1"]);
    expect((await run("as_nobody mknod node b 7 0")).at(-1)).not.toBe(OK);
    expect((await run("with_capabilities +chown mount -t tmpfs x /old")).at(-1)).not.toBe(OK);
    expect((await run("as_nobody id -u; with_capabilities +chown id -u")).slice(0, 2)).toEqual(["65534", "0"]);
  });

  test("a program alone has the capabilities that it is given, and can't have more", async () => {
    const script = `${ONE_PIPE} mount -t proc proc /old; grep -E 'Cap|NoNewPrivs' /old/1/status; chroot . true`;
    const lines: string[] = [];
    const tree = { directory, writable: true };
    const { signal } = new AbortController();
    const onLine = (line: string) => void lines.push(line.replace("?", " "));
    const rights = { capabilities: ["CAP_CHOWN", "CAP_SYS_ADMIN"] } as const;
    const result = await runConfinedAlone(["sh", "-c", script], rights, tree, { signal, onLine });
    const mask = "0000000000200001";
    const sets = { CapInh: "0".repeat(16), CapPrm: mask, CapEff: mask, CapBnd: mask, CapAmb: "0".repeat(16) };
    expect(lines).toEqual([
      ...Object.entries(sets).map(([name, set]) => `${name}: ${set}`),
      "NoNewPrivs: 1",
      expect.stringMatching(/cannot change root directory.*not permitted/),
    ]);
    expect(result.ok).toBe(false);
    expect(() => runConfinedAlone(["no-such-program"], rights, tree, { signal })).toThrow(
      /there is no no-such-program in the \/usr of this host/,
    );
  });

  test("a program that is nobody and has no tree dies with its keeper all the same", async () => {
    const lines: string[] = [];
    const onLine = (line: string) => void lines.push(line);
    const { signal } = new AbortController();
    const rights = { capabilities: [], nobody: true };
    await runConfinedAlone(["sh", "-c", `${ONE_PIPE} id -u; id -G; echo /*; echo x >/old/x`], rights, null, {
      signal,
      onLine,
    });
    expect(lines).toEqual(["65534", "65534", expect.not.stringContaining("/tree"), expect.stringMatching(/Read-only/)]);
    const running = runConfinedAlone(SLEEP.split(" "), rights, null, { signal });
    await expect.poll(() => sleepers()).toHaveLength(1);
    process.kill(keeper(), "SIGKILL");
    await expect(running).rejects.toThrow(/keeper of a confined program was killed/);
    await expect.poll(() => sleepers()).toEqual([]);
  });

  test("no link in what is mounted leads a mount elsewhere", async () => {
    const make = (): number => makeFileSystem("tmpfs", [["mode", "0755"]], 0);
    const [root, part] = [make(), make()];
    try {
      for (const name of ["there", "other"]) mkdirSync(`/proc/self/fd/${root}/${name}`);
      symlinkSync("../old", `/proc/self/fd/${root}/link`);
      writeFileSync(`/proc/self/fd/${part}/file`, "");
      const at = (path: string) => ({
        mounts: [
          { fd: root, at: "/" },
          { fd: part, at: path },
        ],
      });
      const list = `${ONE_PIPE} ls /old there other; echo x >other/new`;
      expect(await run(list, at("/link"))).toEqual([
        ...["/old:", "", "other:", "", "there:", expect.stringContaining("Read-only"), "ended with status 2"],
      ]);
    } finally {
      for (const fd of [root, part]) closeQuietly(fd);
    }
  });
});

test("any host has a place for it, also one whose /mnt leads nowhere", async () => {
  const module = fileURLToPath(new URL("../../src/host/confine.ts", import.meta.url));
  const script = `
    const { runConfined } = await import(${JSON.stringify(module)});
    const options = { directory: ${JSON.stringify(directory)}, writable: true, signal: new AbortController().signal };
    console.log((await runConfined("echo /*; echo x >new", [], options)).tail[0]);
  `;
  // This host, but for one name.
  const other = `
    set -eu
    mount -t tmpfs -o mode=0755 other "$1"
    for path in /*; do
      name=\${path#/}
      if [ "$name" = mnt ]; then ln -s gone/mnt "$1/mnt"
      elif [ -L "$path" ]; then cp -P "$path" "$1/"
      elif [ -d "$path" ]; then mkdir "$1/$name"; mount --rbind "$path" "$1/$name"
      fi
    done
    cd "$1"
    mkdir old-root
    pivot_root . old-root
    umount -l old-root
    exec "$2" --input-type=module -e "$3"
  `;
  mkdirSync(join(directory, "root"));
  const words = ["--mount", "--propagation=private", "sh", "-c", other, "sh", join(directory, "root")];
  expect(execFileSync("unshare", [...words, process.execPath, script], { encoding: "utf8" })).toMatch(
    /^\/bin .*\/usr$/m,
  );
  expect(readFileSync(join(directory, "new"), "utf8")).toBe("x\n");
});

test("the layers lie over each other, one or several", async () => {
  for (const name of ["one", "two"]) {
    mkdirSync(join(directory, name));
    for (const file of [name, "both"]) writeFileSync(join(directory, name, file), `${name}\n`);
  }
  expect(await run("ls; cat both", { layers: ["two", "one"] })).toEqual(["both", "one", "two", "two", OK]);
  expect(await run("ls; cat both", { layers: ["one"] })).toEqual(["both", "one", "one", OK]);
  expect((await run("echo x >new", { layers: ["two", "one"] })).at(-1)).not.toBe(OK);
});

describe("how it ends", () => {
  test("is told as of any command", async () => {
    expect(await run("echo out; echo err >&2; exit 3")).toEqual(
      expect.arrayContaining(["out", "err", "ended with status 3"]),
    );
    expect((await run("no-such-program")).at(-1)).toBe("ended with status 127");
    const killed = run(`exec ${SLEEP}`);
    await expect.poll(() => sleepers()).toHaveLength(1);
    process.kill(Number(sleepers()[0]), "SIGKILL");
    expect(await killed).toEqual(["was killed by SIGKILL"]);
  });

  test("what can't be seen is an error, and nothing is left", async () => {
    await expect(run("true", { directory: join(directory, "gone") })).rejects.toThrow(/open_tree .*gone: ENOENT/);
    const mounts = [{ fd: makeFileSystem("tmpfs", [], 0), at: "/none" }];
    try {
      await expect(run("true", { mounts })).rejects.toThrow(/openat2 tree\/none: ENOENT/);
    } finally {
      closeQuietly(mounts[0]?.fd ?? -1);
    }
  });

  test("all in it die when it is aborted, before that is told", async () => {
    const abort = new AbortController();
    const running = run(`setsid --fork ${SLEEP}; setsid --fork ${SLEEP}; ${SLEEP}`, { signal: abort.signal });
    await expect.poll(() => sleepers()).toHaveLength(3);
    abort.abort(new Error("enough"));
    await expect(running).rejects.toThrow("enough");
    expect(sleepers()).toEqual([]);
    await expect(run("true", { signal: abort.signal })).rejects.toThrow("enough");
  });

  test("all in it die with the shell, and with the process that runs it", async () => {
    expect(await run(`setsid --fork ${SLEEP}`)).toEqual([OK]);
    expect(sleepers()).toEqual([]);
    const module = fileURLToPath(new URL("../../src/host/confine.ts", import.meta.url));
    const script = `
      const { runConfined } = await import(${JSON.stringify(module)});
      const options = { directory: ${JSON.stringify(directory)}, writable: true, signal: new AbortController().signal };
      await runConfined("setsid --fork ${SLEEP}; ${SLEEP}", [], options);
    `;
    const berth = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: "inherit" });
    await expect.poll(() => sleepers()).toHaveLength(2);
    berth.kill("SIGKILL");
    await expect.poll(() => sleepers()).toEqual([]);
  });

  test("all in it die with the keeper", async () => {
    const running = run(SLEEP);
    await expect.poll(() => sleepers()).toHaveLength(1);
    process.kill(keeper(), "SIGKILL");
    await expect(running).rejects.toThrow(/keeper of a confined program was killed/);
    await expect.poll(() => sleepers()).toEqual([]);
  });
});

test("where there is no fd to spare that is an error, and of none of them anything is left", () => {
  const module = fileURLToPath(new URL("../../src/host/confine.ts", import.meta.url));
  const script = `
    const { closeSync, openSync, readdirSync } = await import("node:fs");
    const { execFileSync } = await import("node:child_process");
    const { runConfined } = await import(${JSON.stringify(module)});
    const options = { directory: ${JSON.stringify(directory)}, writable: true, signal: new AbortController().signal };
    const run = () => runConfined("true", [], options).then(({ status }) => status, ({ message }) => message);
    await run();
    const count = () => readdirSync("/proc/self/fd").length;
    const before = count();
    const ends = new Set();
    for (let free = 0; free < 20; free++) {
      const held = [];
      try {
        for (;;) held.push(openSync("/dev/null"));
      } catch {}
      for (const fd of held.splice(0, free)) closeSync(fd);
      ends.add((await run()).replace(/^(?!ended).*EMFILE.*/, "EMFILE"));
      for (const fd of held) closeSync(fd);
    }
    const children = execFileSync("ps", ["--ppid", process.pid, "-o", "comm="], { encoding: "utf8" });
    console.log(JSON.stringify({ ends: [...ends], left: count() - before, children: children.trim() }));
  `;
  const words = ["--nofile=128", process.execPath, "--input-type=module", "-e", script];
  expect(JSON.parse(execFileSync("prlimit", words, { encoding: "utf8" }))).toEqual({
    ends: ["EMFILE", OK],
    left: 0,
    children: "ps",
  });
});

/** Of no other process: what sleeps in there. */
const SLEEP = `sleep 1000${process.pid}`;

function keeper(): number {
  return Number(execFileSync("pgrep", ["-P", String(process.pid), "-x", "berth-view"], { encoding: "utf8" }));
}

function sleepers(): readonly string[] {
  const { stdout } = spawnSync("pgrep", ["-fx", SLEEP], { encoding: "utf8" });
  return stdout.split("\n").filter(Boolean);
}

/** In a mount namespace of its own, where /usr/local is another file system. Argument: a directory. Prints how each has ended. */
const ELSEWHERE = `
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { runConfinedAlone } from ${JSON.stringify(new URL("../../src/host/confine.ts", import.meta.url).href)};
const outside = process.argv[1] + "/outside";
mkdirSync("/usr/local/bin");
writeFileSync("/usr/local/bin/true", "#!/bin/sh\\nexit 3\\n", { mode: 0o755 });
writeFileSync(outside, "#!/bin/sh\\nexit 4\\n", { mode: 0o755 });
for (const name of ["false", "berth-outside"]) symlinkSync(outside, "/usr/local/bin/" + name);
const { signal } = new AbortController();
for (const name of ["true", "false", "berth-outside"])
  try {
    console.log(name, (await runConfinedAlone([name], { capabilities: [] }, null, { signal })).code);
  } catch (error) {
    console.log(error.message);
  }
`;

test("a program is taken from where the view has it: not from another mount, and not by a link that leads out", () => {
  const script = 'mount -t tmpfs tmpfs /usr/local; exec "$0" --input-type=module -e "$1" "$2"';
  const words = ["--mount", "sh", "-ec", script, process.execPath, ELSEWHERE, directory];
  expect(execFileSync("unshare", words, { encoding: "utf8" }).split("\n")).toEqual([
    ...["true 0", "false 1", expect.stringMatching(/^there is no berth-outside in the \/usr of this host/), ""],
  ]);
});
