import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { divideLayer, makeLayer, openLayer, removeLayer } from "../../../src/exec/layer.ts";

let directory = "";
let layer = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "layers-"));
  layer = join(directory, "layer");
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function opened(act: (fd: number) => void = () => undefined): void {
  const fd = openLayer(layer);
  try {
    act(fd);
  } finally {
    closeSync(fd);
  }
}

describe("a new layer", () => {
  test("is empty and for us alone, its parts are for all who come in", () => {
    const mask = process.umask(0o077);
    try {
      makeLayer(layer);
      opened(divideLayer);
    } finally {
      process.umask(mask);
    }
    expect(statSync(layer).mode & 0o7777).toBe(0o700);
    expect(readdirSync(layer).sort()).toEqual(["data", "work"]);
    expect(statSync(join(layer, "data")).mode & 0o7777).toBe(0o755);
    expect(readdirSync(join(layer, "data"))).toEqual([]);
  });

  test("has nothing of what was planted in its place", () => {
    mkdirSync(join(layer, "data/etc"), { recursive: true });
    writeFileSync(join(layer, "data/etc/passwd"), "planted");
    chmodSync(layer, 0o777);
    makeLayer(layer);
    expect(statSync(layer).mode & 0o7777).toBe(0o700);
    expect(readdirSync(layer)).toEqual([]);
  });

  test("does not follow a link in its place", () => {
    const elsewhere = join(directory, "elsewhere");
    mkdirSync(join(elsewhere, "data"), { recursive: true });
    symlinkSync("elsewhere", layer);
    makeLayer(layer);
    expect(statSync(layer).isDirectory()).toBe(true);
    expect(readdirSync(elsewhere)).toEqual(["data"]);
  });

  test("that is filled before it is divided is refused", () => {
    makeLayer(layer);
    mkdirSync(join(layer, "data"));
    expect(() => opened(divideLayer)).toThrow(/EEXIST.*\/data/);
  });

  test("is worked on where it was opened, whoever moves it", () => {
    makeLayer(layer);
    opened((fd) => {
      renameSync(layer, join(directory, "moved"));
      mkdirSync(layer);
      divideLayer(fd);
    });
    expect(readdirSync(layer)).toEqual([]);
    expect(readdirSync(join(directory, "moved")).sort()).toEqual(["data", "work"]);
  });
});

describe("a kept layer", () => {
  test.each([
    ["gone", () => undefined, /it is gone/],
    ["a file", () => writeFileSync(layer, ""), /it is no directory/],
    ["open to others", () => mkdirSync(layer, 0o755), /mode 755 instead of ours, 700/],
    [
      "a link to one",
      () => {
        mkdirSync(join(directory, "other"), 0o700);
        symlinkSync("other", layer);
      },
      /it is no directory/,
    ],
  ])("that is %s is refused by its path", (_, plant, why) => {
    plant();
    expect(() => openLayer(layer)).toThrow(
      expect.objectContaining({ message: expect.stringMatching(why), hint: expect.stringContaining("only root") }),
    );
    expect(() => openLayer(layer)).toThrow(`${layer} is not the layer that berth made`);
  });

  test("is gone on with as it is", () => {
    makeLayer(layer);
    opened(divideLayer);
    writeFileSync(join(layer, "data/kept"), "");
    opened();
    expect(existsSync(join(layer, "data/kept"))).toBe(true);
  });
});

describe("a layer is removed", () => {
  const cases: Readonly<Record<string, readonly string[]>> = {
    "that is as it was made": ["data", "work"],
    "that overlayfs has used": ["data", "work/work"],
    "that is half made": ["data"],
    "with what a machine has left": ["data/etc/a", "work/work/b"],
  };
  test.each(Object.entries(cases))("%s", (_, paths) => {
    makeLayer(layer);
    for (const path of paths) mkdirSync(join(layer, path), { recursive: true });
    removeLayer(layer);
    expect(readdirSync(directory)).toEqual([]);
  });

  test("that has become a link: the link, and not where it leads", () => {
    const elsewhere = join(directory, "elsewhere");
    for (const part of ["data", "work"]) mkdirSync(join(elsewhere, part), { recursive: true });
    symlinkSync(elsewhere, layer);
    removeLayer(layer);
    expect(existsSync(layer)).toBe(false);
    expect(readdirSync(elsewhere).sort()).toEqual(["data", "work"]);
  });
});
