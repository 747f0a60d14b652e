import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openUpper, removeWork } from "../../../src/exec/overlay-upper.ts";
import { closeQuietly } from "../../../src/sys/files.ts";
import { needs } from "../../lib/requires.ts";

needs("root");

const WORK = ".berth-work-0-0";
const OWNER = 70_000;
let directory = "";
let parent = "";
let victim = "";
beforeEach(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), "uppers-")));
  parent = join(directory, "parent");
  victim = join(directory, "victim");
  mkdirSync(join(parent, "up"), { recursive: true });
  mkdirSync(join(victim, "work"), { recursive: true });
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** With what happens as soon as the work directory is made; how to undo it. */
function opened(meanwhile: () => void = () => undefined, inside: string | null = null): () => void {
  const place = inside === null ? { path: parent, inside } : { path: directory, inside };
  let undo = (): void => undefined;
  try {
    const made = (how: () => void): void => {
      undo = how;
      meanwhile();
    };
    closeQuietly(openUpper({ fd: "upper:0", ...place, data: "up", work: WORK, owner: OWNER }, made));
  } catch (error) {
    undo();
    throw error;
  }
  return undo;
}

const work = (): string => join(parent, WORK);

describe.each([
  ["on the host", null],
  ["in a tree", "/parent"],
])("a work directory %s", (_, inside) => {
  test("is its owner's, and gone afterwards with what overlayfs left", () => {
    const undo = opened(undefined, inside);
    expect(lstatSync(work())).toMatchObject({ uid: OWNER, gid: OWNER });
    mkdirSync(join(work(), "work/#1"), { recursive: true });
    mkdirSync(join(work(), "index"));
    undo();
    expect(readdirSync(parent)).toEqual(["up"]);
  });

  test("that was replaced by a link as soon as it was made gives nobody a directory", () => {
    const swap = (): void => {
      renameSync(work(), join(directory, "moved"));
      symlinkSync(victim, work());
    };
    expect(() => opened(swap, inside)).toThrow("ELOOP");
    expect(lstatSync(victim)).toMatchObject({ uid: 0, gid: 0 });
    expect(readdirSync(victim)).toEqual(["work"]);
  });

  test.each([
    ["with something in it", () => writeFileSync(join(work(), "x"), "")],
    ["that others may enter", () => chmodSync(work(), 0o755)],
  ])("that was replaced by a directory %s is refused", (__, change) => {
    const swap = (): void => {
      renameSync(work(), join(directory, "moved"));
      mkdirSync(work(), 0o700);
      change();
    };
    expect(() => opened(swap, inside)).toThrow(`${WORK} has just been replaced by somebody else's`);
  });

  test("that is replaced by a link while the machine runs: where it leads nothing is removed", () => {
    const undo = opened(undefined, inside);
    renameSync(work(), join(directory, "moved"));
    symlinkSync(victim, work());
    undo();
    expect(readdirSync(victim)).toEqual(["work"]);
  });

  test("that is replaced by another directory: that is not touched", () => {
    const undo = opened(undefined, inside);
    renameSync(work(), join(directory, "moved"));
    renameSync(victim, work());
    undo();
    expect(readdirSync(work())).toEqual(["work"]);
  });

  test("with something in it that is not overlayfs's stays with that alone", () => {
    const undo = opened(undefined, inside);
    mkdirSync(join(work(), "work/x"), { recursive: true });
    writeFileSync(join(work(), "mine"), "");
    undo();
    expect(readdirSync(work())).toEqual(["mine"]);
  });

  test("with a link in it: where it leads nothing is removed", () => {
    const undo = opened(undefined, inside);
    mkdirSync(join(victim, "work/kept"));
    symlinkSync(join(victim, "work"), join(work(), "work"));
    undo();
    expect(readdirSync(join(victim, "work"))).toEqual(["kept"]);
    expect(readdirSync(parent)).toEqual(["up"]);
  });

  test("is removed where it was made, whatever the directory around it has become", () => {
    const undo = opened(undefined, inside);
    renameSync(parent, join(directory, "moved"));
    mkdirSync(join(victim, WORK, "work"), { recursive: true });
    symlinkSync(victim, parent);
    undo();
    expect(readdirSync(join(directory, "moved"))).toEqual(["up"]);
    expect(existsSync(join(victim, WORK, "work"))).toBe(true);
  });

  test("is not made by a link that came after the plan", () => {
    renameSync(parent, join(directory, "moved"));
    symlinkSync("moved", parent);
    expect(() => opened(undefined, inside)).toThrow("ELOOP");
    expect(readdirSync(join(directory, "moved"))).toEqual(["up"]);
  });

  test("of a supervisor that was killed is removed by its path, and nothing that a link leads to", () => {
    const upper = { path: inside === null ? parent : directory, inside, work: WORK };
    mkdirSync(join(work(), "work/x"), { recursive: true });
    removeWork(upper);
    expect(readdirSync(parent)).toEqual(["up"]);
    removeWork(upper);
    symlinkSync(victim, work());
    removeWork(upper);
    expect(readdirSync(victim)).toEqual(["work"]);
    renameSync(parent, join(directory, "moved"));
    symlinkSync(victim, parent);
    mkdirSync(join(victim, WORK, "work"), { recursive: true });
    removeWork(upper);
    expect(existsSync(join(victim, WORK, "work"))).toBe(true);
  });
});
