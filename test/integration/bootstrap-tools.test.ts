/** Trees of the distributions' own tools, from small repositories on loopback. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type BerthRoot, berthRoot, buildBerth, type End } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import {
  BASE,
  makeKey,
  makePacmanRepository,
  makeRpmRepository,
  pacmanKeyring,
  type Server,
  serve,
  stopAgent,
  type TestPackage,
  writeRecipe,
} from "../lib/package-repositories.ts";
import { canaries, parseEscape, probeProgram } from "../lib/probe.ts";
import { findTool, needs } from "../lib/requires.ts";

const ready = needs(
  "root",
  "cc",
  "tool:dnf",
  "tool:zypper",
  "tool:pacman",
  "tool:rpm",
  "tool:createrepo_c",
  "tool:gpg",
);
checkLeaks();

interface Repositories {
  readonly directory: string;
  /** By tool: of who signed the packages, and of somebody else. */
  keyrings(tool: string): readonly string[];
  others(tool: string): readonly string[];
  readonly server: Server;
}
let all: Repositories;

const NOT_SIGNED = "is not signed with a key that the recipe names (keyring[])";

/** What a script of a package can do that root of a machine can't: it is root of the host, with hardly a right. */
const ITS_OWN = new Set([
  "chroot:climb", // to the view that its package manager is in
  "process:see", // that one
  "process:signal",
  "namespace:user",
  "host:key", // whoever has uid 0 of the host can see keys of uid 0
  "host:key-search",
]);

beforeAll(async () => {
  if (!ready) return;
  buildBerth();
  const directory = mkdtempSync(join(tmpdir(), "repositories-"));
  const [key, other] = [makeKey(directory), makeKey(directory, "other")];
  const marks = await canaries();
  const probe = await probeProgram();
  const env = Object.entries(marks.env).map(([name, value]) => `${name}='${value}'`);
  const packages: readonly TestPackage[] = [
    BASE,
    { name: "extra", version: "1.0", requires: ["base"], post: "echo of extra >/extra-was-here" },
    { name: "fails", version: "1.0", requires: ["base"], post: "kill -9 -1" },
    {
      name: "attacks",
      version: "1.0",
      requires: ["base"],
      programs: { probe },
      post: `${env.join(" ")} /probe escape >/escape-log 2>&1\nexit 0`,
    },
  ];
  makeRpmRepository({ directory: join(directory, "rpm"), packages, key });
  makeRpmRepository({ directory: join(directory, "rpm-unsigned"), packages: [BASE], key, sign: false });
  makePacmanRepository({ directory: join(directory, "pacman"), packages, key });
  makePacmanRepository({ directory: join(directory, "pacman-unsigned"), packages: [BASE], key, sign: false });
  const [forPacman, othersForPacman] = [
    pacmanKeyring(directory, "tiny", key),
    pacmanKeyring(directory, "other", other),
  ];
  stopAgent(key);
  stopAgent(other);
  all = {
    directory,
    keyrings: (tool) => (tool === "pacman" ? forPacman : [key.file]),
    others: (tool) => (tool === "pacman" ? othersForPacman : [other.file]),
    server: await serve(directory),
  };
  return async () => {
    await all.server[Symbol.asyncDispose]();
    await marks[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true });
  };
});

function recipe(root: BerthRoot, tool: string, { kind = "", keyrings = all.keyrings(tool) } = {}): void {
  const address = `${all.server.address}/${tool === "pacman" ? "pacman" : "rpm"}${kind}`;
  writeRecipe(root.path, { tool, address, keyrings });
}

function bootstrap(root: BerthRoot, ...options: readonly string[]): Promise<End> {
  return root.berth("bootstrap", "tiny", "web", "--no-cache", ...options);
}

describe.each(["dnf", "zypper", "pacman"])("%s", (tool) => {
  test("makes a machine of a signed repository's packages, whose scripts are run", async () => {
    await using root = berthRoot();
    recipe(root, tool);
    const made = await bootstrap(root, "--package", "extra", "--json");
    expect(made.status, made.stderr).toBe(0);
    expect(JSON.parse(made.stdout)).toMatchObject({ name: "web", recipe: "tiny", release: "1", packages: 2 });
    const tree = join(root.path, "machines/web");
    expect(readFileSync(join(tree, "extra-was-here"), "utf8")).toBe("of extra\n");
    expect(readdirSync(join(tree, "dev"))).toEqual([]);
    expect(statSync(tree).mode & 0o777).toBe(0o755);
    const listed = await root.berth("list-images", "--json");
    expect(JSON.parse(listed.stdout)).toMatchObject([{ name: "web" }]);
    const ran = await root.berth("run", "-M", "web", "-q", "--pipe", "--", "/bin/cat", "/etc/os-release");
    expect(ran, ran.stderr).toMatchObject({ status: 0, stdout: expect.stringContaining("ID=tiny") });
  });

  test("installs nothing that is not signed with the recipe's keys", async () => {
    await using root = berthRoot();
    recipe(root, tool, { kind: "-unsigned" });
    const unsigned = await bootstrap(root);
    expect(unsigned, unsigned.stderr).toMatchObject({ status: 1, stderr: expect.stringContaining(NOT_SIGNED) });
    recipe(root, tool, { keyrings: all.others(tool) });
    const other = await bootstrap(root);
    expect(other, other.stderr).toMatchObject({ status: 1, stderr: expect.stringContaining(NOT_SIGNED) });
    expect(readdirSync(join(root.path, "machines")).filter((name) => !name.startsWith(".berth-origins"))).toEqual([]);
  });

  test("says which package is not there", async () => {
    await using root = berthRoot();
    recipe(root, tool);
    const end = await bootstrap(root, "--package", "nosuchpackage");
    expect(end).toMatchObject({ status: 1, stderr: expect.stringContaining("nosuchpackage") });
    expect(end.stderr).toContain("hint: a package of the recipe");
  });

  test("a package's script reaches nothing of the host", async () => {
    await using root = berthRoot();
    recipe(root, tool);
    const end = await bootstrap(root, "--package", "attacks");
    expect(end.status, end.stderr).toBe(0);
    const { escaped, held, skipped } = parseEscape(readFileSync(join(root.path, "machines/web/escape-log"), "utf8"));
    expect(skipped).toEqual([]);
    expect(escaped.map((line) => line.split(" ")[0]).filter((name) => !ITS_OWN.has(name ?? ""))).toEqual([]);
    expect(held.length).toBeGreaterThan(50);
  });

  test("a package's script that kills all it can see kills the tool, and no more", async () => {
    await using root = berthRoot();
    recipe(root, tool);
    const end = await bootstrap(root, "--package", "fails");
    expect(end.status, end.stderr).toBe(1);
    expect(existsSync(join(root.path, "machines/web"))).toBe(false);
  });
});

test.each([
  ["apk", "apk"],
  ["xbps", "xbps-install"],
])("a tool that this host lacks is named, and the way that needs none: %s", async (tool, program) => {
  await using root = berthRoot();
  recipe(root, tool);
  const end = await bootstrap(root);
  const here = findTool(program) !== undefined;
  const said = here
    ? /bootstrap of tiny\/1 failed/
    : new RegExp(
        `needs ${program}.*, not installed here\nhint: .*; or: berth pull images:tinylinux/1 NAME needs no tool\n`,
      );
  expect(end).toMatchObject({ status: 1, stderr: expect.stringMatching(said) });
  const listed = JSON.parse((await root.berth("recipes", "--json")).stdout);
  const tiny = listed.find(({ name }: { name: string }) => name === "tiny");
  expect(tiny).toMatchObject({ tool, missing: { keyrings: [] } });
  expect(tiny.missing.programs.includes(program)).toBe(!here);
});

test("keys that are not there are named before anything is fetched", async () => {
  await using root = berthRoot();
  recipe(root, "dnf", { keyrings: ["/nonexistent/key", "archlinux.gpg"] });
  const before = all.server.requests.length;
  const end = await bootstrap(root);
  expect(end).toMatchObject({ status: 1, stderr: expect.stringContaining("needs the keys /nonexistent/key and ") });
  expect(end.stderr).toContain("hint: apt-get install --no-install-recommends archlinux-keyring");
  expect(all.server.requests.length).toBe(before);
});
