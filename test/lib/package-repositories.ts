/**
 * Small repositories of packages for dnf, zypper and pacman, signed, and a server for them on loopback. The tree that
 * comes out has a shell and some programs of the host's with their libraries, and is a machine that can be run.
 *
 *   using key = makeKey(directory);
 *   makeRpmRepository({ directory, key, packages: [BASE, { name: "extra", version: "1.0", post: "echo hi >/hi" }] });
 *   await using server = await serve(directory);      // server.address: http://127.0.0.1:PORT
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import { basename, dirname, join, normalize } from "node:path";
import { findTool } from "./requires.ts";

export interface TestPackage {
  readonly name: string;
  readonly version: string;
  /** By path in the tree. */
  readonly files?: Readonly<Record<string, string>>;
  /** With programs of the host, and what a tree must have. */
  readonly base?: boolean;
  readonly requires?: readonly string[];
  /** Programs of the host's file system, by path in the tree. */
  readonly programs?: Readonly<Record<string, string>>;
  /** For /bin/sh of the tree, after it has been unpacked. */
  readonly post?: string;
}

export const BASE: TestPackage = {
  name: "base",
  version: "1.0",
  base: true,
  files: {
    "etc/os-release": 'ID=tiny\nVERSION_ID=1\nPRETTY_NAME="Tiny 1"\n',
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\nadm:x:4:\nwheel:x:10:\n",
    "etc/shadow": "root:*:19000::::::\n",
  },
};

const PROGRAMS = ["sh", "cat", "mkdir", "mknod", "id", "ls", "rm", "chroot", "mount", "sleep", "ln"];

export interface Key {
  readonly home: string;
  readonly id: string;
  /** Its public half, armored. */
  readonly file: string;
}

/** An OpenPGP key that lasts as long as `directory`. */
export function makeKey(directory: string, name = "tiny"): Key {
  const home = join(directory, `gnupg-${name}`);
  mkdirSync(home, { mode: 0o700 });
  const gpg = (...args: string[]) => run("gpg", ["--homedir", home, "--batch", "--quiet", ...args]);
  gpg("--passphrase", "", "--quick-generate-key", `${name} <${name}@example.org>`, "rsa2048", "sign", "never");
  const id = /^fpr:+([0-9A-F]+):/m.exec(gpg("--with-colons", "--list-keys"))?.[1] ?? "";
  const file = join(directory, `${name}.asc`);
  writeFileSync(file, gpg("--armor", "--export", id));
  return { home, id, file };
}

/** The key as pacman-key(8) wants it: a keyring, whom to trust, whom not any more. */
export function pacmanKeyring(directory: string, name: string, { home, id }: Key): readonly string[] {
  const [keyring, trusted, revoked] = [`${name}.gpg`, `${name}-trusted`, `${name}-revoked`].map((file) =>
    join(directory, file),
  );
  run("gpg", ["--homedir", home, "--batch", "--yes", "--output", keyring ?? "", "--export", id]);
  writeFileSync(trusted ?? "", `${id}:4:\n`);
  writeFileSync(revoked ?? "", "");
  return [keyring, trusted, revoked].flatMap((path) => path ?? []);
}

export function stopAgent({ home }: Key): void {
  run("gpgconf", ["--homedir", home, "--kill", "all"]);
}

/** Puts a package's files into `root`. */
function fill(root: string, { base = false, files = {}, programs = {} }: TestPackage): void {
  mkdirSync(root, { recursive: true });
  if (base) {
    for (const path of ["usr/bin", "usr/lib", "etc", "root", "var/lib", "home", "tmp", "run"])
      mkdirSync(join(root, path), { recursive: true });
    for (const name of PROGRAMS) copyProgram(root, name);
  }
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  for (const [path, program] of Object.entries(programs)) copyFileSync(program, join(root, path));
}

/** With the libraries it is linked to, where the kernel and the loader look for them. */
function copyProgram(root: string, name: string): void {
  const program = findTool(name) ?? name;
  const libraries = [...run("ldd", [program]).matchAll(/(?:=> )?(\/\S+) \(0x/g)].flatMap(([, path]) => path ?? []);
  for (const [from, to] of [[program, `bin/${name}`] as const, ...libraries.map((path) => [path, path] as const)]) {
    mkdirSync(dirname(join(root, to)), { recursive: true });
    copyFileSync(realpathSync(from), join(root, to));
  }
}

export interface RepositoryOptions {
  /** Where the repository is to be. */
  readonly directory: string;
  readonly packages: readonly TestPackage[];
  readonly key: Key;
  /** False: of packages without signatures. */
  readonly sign?: boolean;
}

/** For dnf and zypper. */
export function makeRpmRepository({ directory, packages, key, sign = true }: RepositoryOptions): void {
  const work = `${directory}.work`;
  mkdirSync(directory, { recursive: true });
  for (const one of packages) {
    const root = join(work, one.name);
    fill(root, one);
    const spec = join(work, `${one.name}.spec`);
    writeFileSync(spec, specOf(one, root));
    const macros = [
      `_rpmdir ${directory}`,
      "_build_id_links none",
      `_dbpath ${work}/database`,
      "__os_install_post %{nil}",
      "_rpmfilename %%{NAME}-%%{VERSION}.rpm",
    ];
    run("rpmbuild", [...macros.flatMap((macro) => ["--define", macro]), "--define", `_topdir ${work}`, "-bb", spec]);
  }
  const rpms = readdirSync(directory).map((name) => join(directory, name));
  if (sign)
    run("rpmsign", [
      "--define",
      `_gpg_name ${key.id}`,
      "--define",
      `_gpg_path ${key.home}`,
      "--define",
      `__gpg ${findTool("gpg")}`,
      "--addsign",
      ...rpms,
    ]);
  run("createrepo_c", ["--quiet", directory]);
  const metadata = join(directory, "repodata/repomd.xml");
  run("gpg", ["--homedir", key.home, "--batch", "--yes", "--armor", "--detach-sign", metadata]);
  copyFileSync(key.file, `${metadata}.key`);
  rmSync(work, { recursive: true });
}

function specOf({ name, version, requires = [], post }: TestPackage, root: string): string {
  return [
    `Name: ${name}`,
    `Version: ${version}`,
    "Release: 1",
    `Summary: ${name}`,
    "License: MIT",
    "AutoReqProv: no",
    ...requires.map((other) => `Requires: ${other}`),
    "%description",
    name,
    "%install",
    `mkdir -p %{buildroot}`,
    `cp -a ${root}/. %{buildroot}/`,
    ...(post === undefined ? [] : ["%post -p /bin/sh", post]),
    "%files",
    ...topOf(root),
    "",
  ].join("\n");
}

/** Files, and the directories that it does not share. */
function topOf(root: string): readonly string[] {
  const found = run("find", [root, "-mindepth", "1", "-printf", "%y /%P\\n"]).split("\n").filter(Boolean);
  return found.map((line) => (line.startsWith("d ") ? `%dir ${line.slice(2)}` : line.slice(2)));
}

/** For pacman: what makepkg(8) makes of a directory, and a database of that. */
export function makePacmanRepository({ directory, packages, key, sign = true }: RepositoryOptions): void {
  mkdirSync(directory, { recursive: true });
  const entries = new Map<string, string>();
  for (const one of packages) {
    const root = join(`${directory}.work`, one.name);
    fill(root, one);
    const info = {
      pkgname: one.name,
      pkgbase: one.name,
      pkgver: `${one.version}-1`,
      pkgdesc: one.name,
      url: "http://example.org",
      builddate: 1_700_000_000,
      packager: "Tiny",
      size: 1,
      arch: "any",
    };
    const lines = Object.entries(info).map(([name, value]) => `${name} = ${value}`);
    const depends = (one.requires ?? []).map((other) => `depend = ${other}`);
    writeFileSync(join(root, ".PKGINFO"), [...lines, ...depends, ""].join("\n"));
    if (one.post !== undefined) writeFileSync(join(root, ".INSTALL"), `post_install() {\n${one.post}\n}\n`);
    const name = `${one.name}-${one.version}-1-any.pkg.tar.zst`;
    const members = [".PKGINFO", ...readdirSync(root).filter((entry) => entry !== ".PKGINFO")];
    run("tar", ["--owner=0", "--group=0", "--zstd", "-cf", join(directory, name), "-C", root, ...members]);
    if (sign) run("gpg", ["--homedir", key.home, "--batch", "--yes", "--detach-sign", join(directory, name)]);
    entries.set(`${one.name}-${one.version}-1`, databaseEntry(one, join(directory, name), sign));
  }
  const database = `${directory}.work/database`;
  for (const [name, text] of entries) {
    mkdirSync(join(database, name), { recursive: true });
    writeFileSync(join(database, name, "desc"), text);
  }
  run("tar", ["-czf", join(directory, "tiny.db"), "-C", database, ...entries.keys()]);
  rmSync(`${directory}.work`, { recursive: true });
}

/** As repo-add(8) writes it, which needs half of makepkg. */
function databaseEntry({ name, version, requires = [] }: TestPackage, file: string, signed: boolean): string {
  const content = readFileSync(file);
  const fields: readonly (readonly [string, readonly string[]])[] = [
    ["FILENAME", [basename(file)]],
    ["NAME", [name]],
    ["BASE", [name]],
    ["VERSION", [`${version}-1`]],
    ["CSIZE", [String(content.length)]],
    ["ISIZE", [String(content.length)]],
    ["SHA256SUM", [createHash("sha256").update(content).digest("hex")]],
    ["PGPSIG", signed ? [readFileSync(`${file}.sig`).toString("base64")] : []],
    ["ARCH", ["any"]],
    ["PACKAGER", ["Tiny <tiny@example.org>"]],
    ["DEPENDS", requires],
  ];
  return fields.flatMap(([key, values]) => (values.length > 0 ? [`%${key}%`, ...values, ""] : [])).join("\n");
}

export interface TinyRecipe {
  readonly tool: string;
  /** Of a repository; with the one, to be checked with the other. */
  readonly address: string;
  readonly keyrings: readonly string[];
  /** Lines of [tree]. */
  readonly tree?: string;
}

/** For a berth root's etc/recipes. */
export function writeRecipe(root: string, { tool, address, keyrings, tree = "" }: TinyRecipe, name = "tiny"): void {
  mkdirSync(join(root, "etc/recipes"), { recursive: true });
  const text = `
[recipe]
title = Tiny
default-release = 1
image = tinylinux/$release
[${tool}]
${keyrings.map((keyring) => `keyring[] = ${keyring}`).join("\n")}
mirror = ${address}
repository[] = tiny $mirror
[tree]
package[] = base
${tree}
[release 1]
title = Tiny 1
`;
  writeFileSync(join(root, "etc/recipes", `${name}.ini`), text);
}

export interface Server extends AsyncDisposable {
  readonly address: string;
  /** Paths that were asked for. */
  readonly requests: readonly string[];
}

/** The files below `directory`, by http on loopback. */
export async function serve(directory: string): Promise<Server> {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url ?? "/", "http://x").pathname));
    requests.push(path);
    const stat = statSync(join(directory, path), { throwIfNoEntry: false });
    if (!stat?.isFile()) return void response.writeHead(404).end();
    response.writeHead(200, { "content-length": stat.size, "last-modified": stat.mtime.toUTCString() });
    if (request.method === "HEAD") return void response.end();
    response.end(readFileSync(join(directory, path)));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const where = server.address();
  const port = typeof where === "object" && where !== null ? where.port : 0;
  return {
    address: `http://127.0.0.1:${port}`,
    requests,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function run(program: string, args: readonly string[]): string {
  return execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], maxBuffer: 64 << 20 });
}
