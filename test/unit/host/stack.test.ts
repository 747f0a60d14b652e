import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openTree } from "../../../src/host/open-tree.ts";
import { layersNamedBy, readStack, usrRoots } from "../../../src/host/stack.ts";
import { findTree, kindOfTree, nameOfTree, treeOf } from "../../../src/host/tree-place.ts";

let store: string;

beforeEach(() => {
  store = mkdtempSync(join(tmpdir(), "berth-test-stack-"));
});
afterEach(() => rmSync(store, { recursive: true }));

function makeStack(layers: Readonly<Record<string, string | null>>, rw = true): string {
  const path = join(store, "m.mstack");
  mkdirSync(path);
  for (const [name, target] of Object.entries(layers)) {
    if (target === null) mkdirSync(join(path, name));
    else symlinkSync(target, join(path, name));
  }
  if (rw) mkdirSync(join(path, "rw/data"), { recursive: true });
  return path;
}

function makeLayer(id: string, part = "tree"): string {
  const layer = join(store, ".berth-layers", id, part);
  mkdirSync(layer, { recursive: true });
  return layer;
}

test("layers are in the order of their numbers, the topmost first, and rw comes before them", () => {
  const layers = [makeLayer("a"), makeLayer("b", "rw/data"), makeLayer("c")];
  const path = makeStack({
    "layer@2": "../.berth-layers/a/tree",
    "layer@10": "../.berth-layers/b/rw/data",
    "layer@9": "../.berth-layers/c/tree",
    "layer@100": null,
  });
  const expected = [join(path, "layer@100"), layers[1], layers[2], layers[0]];
  expect(readStack(path)).toEqual({ path, layers: expected, rw: join(path, "rw") });
  expect([...layersNamedBy(path)].sort()).toEqual(["a", "b", "c"]);
  using opened = openTree(path);
  expect(opened.roots).toEqual([join(path, "rw/data"), ...expected]);
});

test.each([
  ["another place", { "layer@0": "../other/tree" }, "leads to"],
  ["a way out of a layer", { "layer@0": "../.berth-layers/a/tree/../../.." }, "leads to"],
  ["a part of a layer", { "layer@0": "../.berth-layers/a/tree/etc" }, "leads to"],
  ["an absolute path", { "layer@0": "/" }, "leads to"],
  ["a layer that is gone", { "layer@0": "../.berth-layers/b/tree" }, "gone"],
  ["a name of another kind", { "layer@0": "../.berth-layers/a/tree", root: null }, "root"],
  ["no layer", {}, "no layer"],
])("%s is refused", (_, layers, why) => {
  makeLayer("a");
  const path = makeStack(layers);
  expect(() => readStack(path)).toThrow(why);
});

test("a layer that is a link is refused, whatever it leads to", () => {
  makeLayer("a");
  rmSync(join(store, ".berth-layers/a/tree"), { recursive: true });
  symlinkSync("/", join(store, ".berth-layers/a/tree"));
  expect(() => readStack(makeStack({ "layer@0": "../.berth-layers/a/tree" }))).toThrow("no directory");
});

test("a name is a tree's, or a stack's, in this order; its suffix alone says which", () => {
  expect(findTree(store, "m")).toBeNull();
  expect(treeOf(store, "m")).toBe(join(store, "m"));
  const stack = makeStack({});
  expect(findTree(store, "m")).toBe(stack);
  expect([kindOfTree(stack), nameOfTree(stack)]).toEqual(["stack", "m"]);
  mkdirSync(join(store, "m"));
  expect(findTree(store, "m")).toBe(join(store, "m"));
  expect(kindOfTree(join(store, "m"))).toBe("directory");
});

test("/usr is that of the layers which have one, down to one where it is something else", () => {
  const [top, middle, low] = [makeLayer("a"), makeLayer("b"), makeLayer("c")];
  for (const layer of [top, low]) mkdirSync(join(layer, "usr"));
  expect(usrRoots([top, middle, low])).toEqual([top, low]);
  writeFileSync(join(middle, "usr"), "");
  expect(usrRoots([top, middle, low])).toEqual([top]);
});
