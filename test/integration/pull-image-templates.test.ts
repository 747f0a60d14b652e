/**
 * What an image's metadata has made anew in its tree (CVE-2026-23954 of Incus): whatever it, its templates or the tree say, nothing
 * outside the tree is written or read.
 */
import { execFileSync } from "node:child_process";
import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { openArchiveFile } from "../../src/transfer/archive-input.ts";
import { extractArchive } from "../../src/transfer/extract.ts";
import { applyTemplates, unpackMetadata } from "../../src/transfer/templates.ts";
import { type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { pullImage } from "../lib/image-server.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";
import { directory, entry, file, hardLink, link, tar } from "../lib/tar.ts";

const ready = needs("root");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const SECRET = "nobody else's to know";

interface Scene {
  readonly root: BerthRoot;
  /** A directory of the host that others may write to: laid out as an image's metadata, templates and /etc at once. */
  readonly canary: string;
  /** Of it: names, modes, owners, sizes, times, contents. */
  look(): string;
  /** The tree that was made. */
  readonly tree: string;
}

function scene(root: BerthRoot): Scene {
  const canary = root.directory("canary", 0o777);
  for (const at of [".", "etc", "templates"]) {
    mkdirSync(join(canary, at), { recursive: true, mode: 0o777 });
    for (const name of ["hostname", "hosts", "hostname.tpl", "evil"])
      writeFileSync(join(canary, at, name), SECRET, { mode: 0o666 });
  }
  writeFileSync(join(canary, "metadata.yaml"), `# ${SECRET}\n${templates({ "/etc/hostname": "hostname.tpl" })}`);
  // Times of access too: what is only read shows as well, as it was never before.
  execFileSync("find", [canary, "-type", "f", "-exec", "touch", "-a", "-d", "2001-01-01", "{}", "+"]);
  const look = (): string =>
    execFileSync("find", [canary, "-type", "f", "-printf", "%P %y %m %U %n %s %T@ %C@ %A@\\n"], { encoding: "utf8" }) +
    execFileSync("find", [canary, "-not", "-type", "f", "-printf", "%P %y %m %U %n %T@ %C@\\n"], { encoding: "utf8" });
  return { root, canary, look, tree: join(root.machines, "web") };
}

/** By path in the tree. */
function templates(files: Readonly<Record<string, string>>): string {
  const entries = Object.entries(files).map(
    ([path, name]) => `  ${path}:\n    when:\n    - create\n    template: ${name}\n`,
  );
  return `architecture: x86_64\ntemplates:\n${entries.join("")}`;
}

/** From anywhere in a tree to a directory of the host. */
const up = (path: string): string => `${"../".repeat(20)}${path.slice(1)}`;

const USUAL = templates({ "/etc/hostname": "hostname.tpl" });
const NAME = file("templates/hostname.tpl", "{{ instance.name }}\n");
const metadata = (text: string, ...entries: readonly Buffer[]): Buffer =>
  tar([file("metadata.yaml", text), directory("templates"), ...entries]);

const ETC = [directory("./"), directory("./etc"), file("./etc/os-release", "ID=test\n")];
const AS_IT_WAS = "LXC_NAME\n";
const TREE = tar([...ETC, file("./etc/hostname", AS_IT_WAS), file("./etc/hosts", AS_IT_WAS)]);

/** Unpacks both and applies them, as `berth pull` does; what it says then. The host is as it was, and nothing of it is there. */
async function applied(at: Scene, about: Buffer, tree: Buffer): Promise<readonly string[]> {
  const { signal } = new AbortController();
  const said: string[] = [];
  const control = { signal, progress: () => undefined, log: (line: string) => said.push(line) };
  const workspace = at.root.directory("workspace");
  const packed = (name: string, bytes: Buffer): string => {
    writeFileSync(join(workspace, name), bytes);
    return join(workspace, name);
  };
  const before = at.look();
  mkdirSync(at.tree);
  using archive = openArchiveFile(packed("root.tar", tree));
  await extractArchive(await archive.input(signal), at.tree, { signal, onLine: () => undefined });
  const described = await unpackMetadata(packed("about.tar", about), workspace, control);
  await applyTemplates(at.tree, described, "web", control);
  expectUntouched(at, before);
  return said;
}

async function pulled(at: Scene, about: Buffer, tree: Buffer): Promise<void> {
  const before = at.look();
  const end = await pullImage(at.root, about, tree, "root.tar.xz");
  expect(end).toMatchObject({ status: 0, stdout: "", stderr: "" });
  expectUntouched(at, before);
}

function expectUntouched({ root, tree, look }: Scene, before: string): void {
  expect(look()).toBe(before);
  const known = ["cache", "canary", "etc", "machines", "run", "workspace"];
  expect(readdirSync(root.path).filter((name) => !known.includes(name))).toEqual([]);
  const script = 'grep -rlF -e "$1" "$2" || true';
  expect(execFileSync("sh", ["-c", script, "sh", SECRET, tree], { encoding: "utf8" })).toBe("");
}

const LEFT = ["left as it is in the image: /etc/hostname, which its template would write anew"];

const hostname = ({ tree }: Scene): string => readFileSync(join(tree, "etc/hostname"), "utf8");

describe("berth pull", () => {
  test.each<[string, string, (canary: string) => readonly [metadata: Buffer, tree: Buffer]]>([
    ["writes what is as they are", "web\n", () => [metadata(USUAL, NAME), TREE]],
    [
      "writes no target by a path of the host",
      AS_IT_WAS,
      (canary) => [
        metadata(templates({ [`${canary}/evil`]: "hostname.tpl", [`/${up(canary)}/new`]: "hostname.tpl" }), NAME),
        TREE,
      ],
    ],
    [
      "writes no target through a link",
      SECRET,
      (canary) => [metadata(USUAL, NAME), tar([directory("./"), directory("./usr"), link("./etc", canary)])],
    ],
    [
      "replaces a link",
      "web\n",
      (canary) => [metadata(USUAL, NAME), tar([...ETC, link("./etc/hostname", `${canary}/evil`)])],
    ],
    [
      "reads no source through a link",
      AS_IT_WAS,
      (canary) => [metadata(USUAL, link("templates/hostname.tpl", `${canary}/hostname.tpl`)), TREE],
    ],
    [
      "reads no source that is huge",
      AS_IT_WAS,
      () => [metadata(USUAL, file("templates/hostname.tpl", "x".repeat(200_000))), TREE],
    ],
    [
      "writes once what is named often",
      "last",
      () => [
        metadata(`${USUAL}${"    template: hosts.tpl\n".repeat(9000)}`, NAME, file("templates/hosts.tpl", "last")),
        TREE,
      ],
    ],
  ])("%s", async (_, content, image) => {
    await using root = berthRoot();
    const at = scene(root);
    await pulled(at, ...image(at.canary));
    expect(hostname(at)).toBe(content);
  });
});

describe("a target that is not in the tree is not written", () => {
  const targets: Readonly<Record<string, (canary: string) => string>> = {
    "with .. to the host": (canary) => `/..${"/..".repeat(20)}${canary}/evil`,
    "with .. behind one that is known": (canary) => `/etc/hostname/../..${"/..".repeat(20)}${canary}/evil`,
    "with .. in the tree": () => "/etc/../etc/hostname",
    "with // in it": () => "/etc//hostname",
    "an absolute path of the host": (canary) => `${canary}/evil`,
    "a relative path": (canary) => `..${"/..".repeat(20)}${canary}/evil`,
    "in quotes": (canary) => `"/etc/..${"/..".repeat(20)}${canary}/evil"`,
    "with a command": (canary) => `/etc/hostname$(touch ${canary}/new)`,
    nothing: () => '""',
  };
  test.each(Object.entries(targets))("%s", async (_, target) => {
    await using root = berthRoot();
    const at = scene(root);
    await applied(at, metadata(templates({ [target(at.canary)]: "hostname.tpl" }), NAME), TREE);
    expect(hostname(at)).toBe(AS_IT_WAS);
    expect(readdirSync(at.tree)).toEqual(["etc"]);
    expect(readdirSync(join(at.tree, "etc")).sort()).toEqual(["hostname", "hosts", "os-release"]);
  });
});

describe("a tree that leads a target out of it", () => {
  const OS_RELEASE = [
    directory("./"),
    directory("./usr"),
    directory("./usr/lib"),
    file("./usr/lib/os-release", "ID=t\n"),
  ];

  test.each<[string, (canary: string) => readonly Buffer[]]>([
    ["by an absolute link", (canary) => [link("./etc", canary)]],
    ["by a link with ..", (canary) => [link("./etc", up(canary))]],
    ["by two links", (canary) => [link("./a", canary), link("./etc", "a")]],
    ["to itself", () => [link("./etc", "etc")]],
    ["to /proc", () => [link("./etc", "/proc/self/root/etc")]],
    ["to nowhere", () => []],
    ["to a file", () => [file("./etc", "")]],
  ])("%s in place of /etc", async (_, entries) => {
    await using root = berthRoot();
    const at = scene(root);
    const host = lstatSync("/etc/hostname");
    expect(await applied(at, metadata(USUAL, NAME), tar([...OS_RELEASE, ...entries(at.canary)]))).toEqual(LEFT);
    expect(lstatSync("/etc/hostname")).toMatchObject({ ino: host.ino, ctimeMs: host.ctimeMs });
    expect(lstatSync(join(at.tree, "etc"), { throwIfNoEntry: false })?.isDirectory() ?? false).toBe(false);
  });

  test.each<[string, (canary: string) => readonly Buffer[]]>([
    ["an absolute link", (canary) => [link("./etc/hostname", `${canary}/evil`)]],
    ["an absolute link to what is not there", (canary) => [link("./etc/hostname", `${canary}/new`)]],
    ["a link with ..", (canary) => [link("./etc/hostname", `${up(canary)}/evil`)]],
    ["two links", (canary) => [link("./etc/a", `${canary}/evil`), link("./etc/hostname", "a")]],
    ["a link to a device", () => [link("./etc/hostname", "/dev/stdout")]],
    ["a fifo", () => [entry({ name: "./etc/hostname", type: "6" })]],
    ["a device", () => [entry({ name: "./etc/hostname", type: "3", device: [1, 8] })]],
    ["another name of a file", () => [file("./etc/shadow", "root"), hardLink("./etc/hostname", "etc/shadow")]],
    ["a link to a file in it", () => [file("./etc/shadow", "root"), link("./etc/hostname", "shadow")]],
  ])("%s as the file itself is replaced by one", async (_, entries) => {
    await using root = berthRoot();
    const at = scene(root);
    expect(await applied(at, metadata(USUAL, NAME), tar([...ETC, ...entries(at.canary)]))).toEqual([]);
    expect(lstatSync(join(at.tree, "etc/hostname"))).toMatchObject({ nlink: 1, mode: 0o100644 });
    expect(hostname(at)).toBe("web\n");
    const shadow = join(at.tree, "etc/shadow");
    if (lstatSync(shadow, { throwIfNoEntry: false }) !== undefined) expect(readFileSync(shadow, "utf8")).toBe("root");
  });

  test("a directory in place of the file stays", async () => {
    await using root = berthRoot();
    const at = scene(root);
    const tree = tar([...ETC, directory("./etc/hostname"), link("./etc/hostname/x", at.canary)]);
    expect(await applied(at, metadata(USUAL, NAME), tree)).toEqual(LEFT);
    expect(readdirSync(join(at.tree, "etc/hostname"))).toEqual(["x"]);
  });
});

describe("a source that is no file of templates/ is not read", () => {
  const LARGEST = 64 << 10;

  test.each<[string, (canary: string) => Buffer]>([
    ["a name with ../", (canary) => metadata(templates({ "/etc/hostname": `${up(canary)}/hostname.tpl` }), NAME)],
    ["an absolute name", (canary) => metadata(templates({ "/etc/hostname": `${canary}/hostname.tpl` }), NAME)],
    ["..", () => metadata(templates({ "/etc/hostname": ".." }), NAME)],
    ["a name that is not there", () => metadata(USUAL)],
    ["an absolute link", (canary) => metadata(USUAL, link("templates/hostname.tpl", `${canary}/hostname.tpl`))],
    ["a link with ..", (canary) => metadata(USUAL, link("templates/hostname.tpl", `${up(canary)}/hostname.tpl`))],
    ["a link to /proc", () => metadata(USUAL, link("templates/hostname.tpl", "/proc/self/environ"))],
    ["a link to itself", () => metadata(USUAL, link("templates/hostname.tpl", "hostname.tpl"))],
    ["a directory", () => metadata(USUAL, directory("templates/hostname.tpl"))],
    ["a fifo", () => metadata(USUAL, entry({ name: "templates/hostname.tpl", type: "6" }))],
    ["a device", () => metadata(USUAL, entry({ name: "templates/hostname.tpl", type: "3", device: [1, 5] }))],
    ["templates/ as a link", (canary) => tar([file("metadata.yaml", USUAL), link("templates", `${canary}/templates`)])],
    ["templates/ as a link with ..", (canary) => tar([file("metadata.yaml", USUAL), link("templates", up(canary))])],
    ["metadata.yaml as a link", (canary) => tar([link("metadata.yaml", `${canary}/metadata.yaml`), NAME])],
    ["metadata.yaml that is huge", () => metadata(`${USUAL}${"#".repeat(1 << 20)}`, NAME)],
    ["a template that is too large", () => metadata(USUAL, file("templates/hostname.tpl", "x".repeat(LARGEST + 1)))],
    ["a template of 8 MB", () => metadata(USUAL, file("templates/hostname.tpl", "x".repeat(8 << 20)))],
    [
      "a template that gets too large",
      () => metadata(USUAL, file("templates/hostname.tpl", "{{instance.name}}{{container.name}}".repeat(8000))),
    ],
    ["a template with a zero byte", () => metadata(USUAL, file("templates/hostname.tpl", "a\0b"))],
    [
      "a template with a file of the host",
      () => metadata(USUAL, file("templates/hostname.tpl", '{% include "/etc/passwd" %}')),
    ],
  ])("%s", async (_, about) => {
    await using root = berthRoot();
    const at = scene(root);
    const said = await applied(at, about(at.canary), TREE);
    // What can't be read as metadata at all says nothing of templates.
    expect([LEFT, []]).toContainEqual(said);
    expect(hostname(at)).toBe(AS_IT_WAS);
  });

  test.each([1000, LARGEST])("but one of %i bytes is, whatever a shell would make of it", async (size) => {
    await using root = berthRoot();
    const at = scene(root);
    const text = `-n %s\\n $(id) \`id\` "'\n`.padEnd(size, "x");
    expect(await applied(at, metadata(USUAL, file("templates/hostname.tpl", text)), TREE)).toEqual([]);
    expect(hostname(at)).toBe(text);
  });
});
