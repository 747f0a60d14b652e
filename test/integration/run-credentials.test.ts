/** Credentials: what the machine gets, and that nobody else does. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { BERTH, type BerthRoot, berthRoot } from "../lib/berth.ts";
import { interview } from "../lib/interview.ts";
import { parseProbe, probe, probeTree } from "../lib/probe.ts";
import { needsHere } from "../lib/requires.ts";
import { setUpProbe } from "../lib/set-up.ts";
import { debianTree } from "../lib/trees.ts";

const { ready, tree } = setUpProbe();

const DIRECTORY = "/run/host/credentials";
const SECRET = "correct horse battery";

test("--set-credential: is a file that root inside alone may read, in memory, read-only", async () => {
  await using root = berthRoot();
  const talk = interview({
    env: ["env"],
    directory: ["stat", DIRECTORY],
    file: ["stat", `${DIRECTORY}/api.key`],
    binary: ["cat", `${DIRECTORY}/binary`],
    key: ["cat", `${DIRECTORY}/api.key`],
    mounts: ["mounts"],
    write: ["write", `${DIRECTORY}/api.key`, "x"],
    unmount: ["umount", DIRECTORY],
  });
  const options = [`--set-credential=api.key:${SECRET}`, "--set-credential", "binary:a\\x00\\n"];
  const { stdout, status } = await root.run(tree, options, talk.command);
  const answers = talk.answers(stdout);
  expect(answers.line("env")).toMatchObject({ env: { CREDENTIALS_DIRECTORY: DIRECTORY } });
  expect(answers.line("directory")).toMatchObject({ type: "directory", mode: 0o500, uid: 0, gid: 0 });
  expect(answers.line("file")).toMatchObject({ type: "file", mode: 0o400, uid: 0, gid: 0 });
  expect(answers.text("key")).toBe(SECRET);
  expect(answers.text("binary")).toBe("a\0\n");
  const mount = answers
    .text("mounts")
    .split("\n")
    .find((line) => line.includes(` ${DIRECTORY} `));
  expect(mount).toMatch(/ ro,nosuid,nodev,noexec.* - ramfs /);
  expect(answers.errors(["write", "unmount"])).toEqual({ write: "EROFS", unmount: "EINVAL" });
  expect(status).toBe(1); // the last questions
});

test("--set-credential: is in no plan, record, log, process list, nor the tree", async () => {
  await using root = berthRoot();
  const own = await probeTree({ at: join(root.machines, "m") });
  const given = [`--set-credential=api.key:${SECRET}`, "--set-credential", `other:${SECRET}`];
  await using child = root.start("run", "-M", "m", "--pipe", ...given, "--", ...probe("init", "--term"));
  await child.until(/up/);
  const { supervisor } = await root.recordWhen("m", ({ state }) => state === "running");
  const shown = readFileSync(`/proc/${supervisor.pid}/cmdline`, "utf8");
  expect(shown).toContain("--set-credential=api.key:... --set-credential other:...");
  const found = (where: string): string => spawnGrep(where);
  expect(found(root.path)).toBe("");
  expect(readdirSync(own)).not.toContain("credentials");
  child.kill();
  expect((await child.end).status).toBe(0);
  for (const json of [[], ["--json"]]) {
    const { stdout, stderr } = await root.berth("plan", "-M", "m", ...given, ...json);
    expect(stdout).toContain("put credentials api.key, other into a file system in memory");
    expect(stdout).toContain(`(${2 * SECRET.length} bytes)`);
    expect(stdout + stderr).not.toContain(SECRET);
  }
});

/** Files below a directory that have the secret in them. */
function spawnGrep(where: string): string {
  return execFileSync("sh", ["-c", 'grep -rlaF -e "$1" -- "$2" || [ $? = 1 ]', "sh", SECRET, where], {
    encoding: "utf8",
  });
}

test("--load-credential: from a file, a directory without its links, a socket, a pipe, berth's own credentials", async () => {
  await using root = berthRoot();
  const directory = root.directory("secrets", 0o700);
  mkdirSync(join(directory, "below"));
  writeFileSync(join(directory, "one"), "1");
  writeFileSync(join(directory, "below/two"), "22");
  symlinkSync("one", join(directory, "link"));
  const socket = join(root.path, "socket");
  const server = createServer((connection) => connection.end("by socket"));
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  try {
    const talk = interview({
      ls: ["ls", DIRECTORY],
      socket: ["cat", `${DIRECTORY}/s`],
      pipe: ["cat", `${DIRECTORY}/p`],
    });
    const options = [`file:${directory}/one`, `d:${directory}`, `s:${socket}`, "p:/dev/fd/3", "renamed:two", "one"];
    const words = ["run", "-D", tree, "--pipe", ...options.map((text) => `--load-credential=${text}`), "--"];
    const env = { CREDENTIALS_DIRECTORY: directory };
    writeFileSync(join(directory, "two"), "own");
    const shell = ["sh", "-c", 'exec 3<<EOF\nby pipe\nEOF\nexec "$@"', "sh", BERTH];
    await using child = root.spawn([...shell, ...words, ...talk.command], { env });
    const { stdout, stderr } = await child.end;
    expect(stderr).toBe("");
    const answers = talk.answers(stdout);
    const names = (answers.line("ls")["names"] as string[]).sort();
    expect(names).toEqual(["d_below_two", "d_one", "d_two", "file", "one", "p", "renamed", "s"]);
    expect(answers.text("socket")).toBe("by socket");
    expect(answers.text("pipe")).toBe("by pipe\n");
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
});

test("--load-credential: a source that is not there, ids given twice and too much of it are refused", async () => {
  await using root = berthRoot();
  const run = (...options: string[]) => root.run(tree, options, probe("cwd"));
  const missing = await run("--load-credential=a:/no/such/file");
  expect(missing).toMatchObject({ status: 125, stdout: "" });
  expect(missing.stderr).toMatch(/^berth: .*credential "a" can't be read from \/no\/such\/file: ENOENT/);
  expect((await run("--set-credential=a:1", "--set-credential=a:2")).stderr).toContain("given more than once");
  const large = join(root.path, "large");
  writeFileSync(large, Buffer.alloc((1 << 20) + 1));
  expect((await run(`--load-credential=a:${large}`)).stderr).toContain("the credentials have");
  expect((await run("--load-credential=a:/dev/zero")).stderr).toContain("more than 1048576 bytes");
});

test("a machine that reboots has its credentials again, also from a source that gives them once", async () => {
  await using root = berthRoot();
  const shell = ["sh", "-c", 'exec 3<<EOF\nonce\nEOF\nexec "$@"', "sh", BERTH];
  const words = ["run", "-D", tree, "-M", "m", "--console=read-only", "--load-credential=p:/dev/fd/3", "--"];
  const command = probe("cat", `${DIRECTORY}/p`, "--", "init", "--term");
  await using child = root.spawn([...shell, ...words, ...command]);
  await child.until(/once\r?\nup/);
  await root.berth("exec", "m", "--", ...probe("reboot", "restart"));
  await child.until(/once\r?\nup[\s\S]*once\r?\nup/);
  child.kill();
  expect((await child.end).status).toBe(0);
});

test.runIf(ready)("without --set-credential there is neither directory nor variable", async () => {
  await using root = berthRoot();
  const { stdout } = await root.run(tree, [], probe("env", "--", "ls", "/run/host"));
  expect(parseProbe(stdout, "env")["env"]).not.toHaveProperty("CREDENTIALS_DIRECTORY");
  expect(stdout).not.toContain('"credentials"');
});

test("--set-credential: Debian's systemd sees it as secure, hands it to a service, and sysusers sets root's password", async (ctx) => {
  needsHere(ctx, "tool:mmdebstrap");
  await using root = berthRoot();
  const debian = join(root.machines, "deb");
  execFileSync("cp", ["-a", "--reflink=auto", await debianTree("bookworm"), debian]);
  await using _ = { [Symbol.asyncDispose]: async () => void (await root.berth("terminate", "deb")) };
  const hashed = "$y$j9T$yAuRJu1o5HioZAGDYPU5d.$F64ni6J2y2nNQve90M/p0ZP0ECP/qqzipNyaY9fjGpC";
  const given = [`--set-credential=passwd.hashed-password.root:${hashed}`, `--set-credential=api.key:${SECRET}`];
  // An unprovisioned root, as images have it: systemd-sysusers gives a password to a user it makes.
  execFileSync("sed", ["-i", "/^root:/d", `${debian}/etc/shadow`, `${debian}/etc/passwd`]);
  const running = root.start("run", "-b", "-M", "deb", "--notify-ready=yes", "--console=passive", ...given);
  try {
    await root.recordWhen("deb", ({ ready: up }) => up);
    const list = await inside(root, "systemd-creds", "--system", "list");
    expect(list).toMatch(/^api\.key +secure +21B/m);
    const unit = ["systemd-run", "--wait", "--pipe", "--quiet", "-p", "LoadCredential=mine:api.key"];
    expect(await inside(root, ...unit, "systemd-creds", "cat", "mine")).toBe(SECRET);
    expect(await inside(root, "cat", "/etc/shadow")).toContain(`root:${hashed}:`);
  } finally {
    await root.berth("poweroff", "deb");
    await running.end;
  }
}, 240_000);

async function inside(root: BerthRoot, ...command: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await root.berth("exec", "deb", "--", ...command);
  if (status !== 0) throw new Error(`${command.join(" ")}: ${status}\n${stdout}${stderr}`);
  return stdout.trim();
}
