import { execFileSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { startOptionState } from "../../../src/cli/man.ts";
import { NSPAWN_OPTIONS, OTHER_NSPAWN_OPTIONS } from "../../../src/cli/nspawn-options.ts";
import { COMMAND_OPTIONS, optionName, SETTINGS } from "../../../src/config/settings.ts";
import { findProofs, namesIn, titles } from "../../lib/proofs.ts";
import { needsHere } from "../../lib/requires.ts";

const proofs = findProofs();
const known = [...NSPAWN_OPTIONS, ...OTHER_NSPAWN_OPTIONS];
const names = known.flatMap(({ long, short }) => [short, long].filter((name) => name !== undefined));

describe("what is in effect is shown by a test that has it in its title", () => {
  test.each(SETTINGS.filter(({ state }) => state === "in effect").map(({ key }) => `${key}=`))("%s", (name) => {
    expect(proofs.get(name) ?? [], `test("${name}...: ...") in test/integration`).not.toEqual([]);
  });

  // What a setting's tests show need not be shown again: that the option sets it, start-options.test.ts does.
  const alone = known.filter(({ long, short }) => {
    if (["--help", "--version"].includes(long ?? "")) return false;
    if (COMMAND_OPTIONS.some(({ form }) => [long, short].includes(optionName(form)))) return false;
    return [long, short].some((name) => name !== undefined && startOptionState(name) === "in effect");
  });
  test.each(alone.map(({ long, short }) => [long ?? short ?? "", short] as const))("%s", (...both) => {
    const found = both.flatMap((name) => (name === undefined ? [] : (proofs.get(name) ?? [])));
    expect(found, `test("${both[0]}...: ...") in test/integration`).not.toEqual([]);
  });
});

describe("the list of systemd-nspawn's options", () => {
  test("has each name once", () => {
    expect(names.toSorted()).toEqual([...new Set(names)].sort());
  });

  test("has what systemd-nspawn --help lists", (ctx) => {
    needsHere(ctx, "systemd-nspawn");
    const help = execFileSync("systemd-nspawn", ["--no-pager", "--help"], { encoding: "utf8" });
    const listed = [...help.matchAll(/^ {2}(?: {3}|(-[A-Za-z]) )(--[a-z0-9-]+)?/gm)].flatMap(([, short, long]) =>
      [short, long].filter((name) => name !== undefined),
    );
    expect(listed.length).toBeGreaterThan(80);
    expect(listed.filter((name) => !names.includes(name))).toEqual([]);
  });

  test("has none that berth does not know by name", () => {
    const unknown = known.filter(({ long, short }) =>
      [long, short].some((name) => name !== undefined && startOptionState(name) === undefined),
    );
    expect(unknown).toEqual([]);
  });

  test("has every option of the settings, but berth's own", () => {
    const own = ["--host-network"];
    const ours = COMMAND_OPTIONS.map(({ form }) => optionName(form)).filter((name) => !own.includes(name));
    expect(ours.filter((name) => !names.includes(name))).toEqual([]);
  });
});

describe("titles of tests", () => {
  test("are found in all forms that tests are written in", () => {
    const text = `
      test("one", async () => {});
      test('two', () => {});
      test("three", { timeout: 3 }, async (ctx) => {});
      test.each([["a", 1]])("four %s", async (name, n) => {});
      test.each(
        list,
      )(
        "five",
        ({ a, b }) => {},
      );
      test.runIf(x).each(MODES)("six \\"quoted\\"", async (mode) => {});
      describe("none", () => {});
      expect(call("none")).toBe("none");
      root.start("none", "-D");
    `;
    expect(titles(text)).toEqual(["one", "two", "three", "four %s", "five", 'six "quoted"']);
  });

  test.each([
    ["Boot=yes, --boot: an init", ["Boot=", "--boot"]],
    ["Limit%s=: a limit", ["Limit%s="]],
    ["-x and --ephemeral=%s, -U: A= twice, A=b", ["-x", "--ephemeral", "-U", "A="]],
    ["read-only: no-such=x, well-known, x--y, $PATH", []],
  ])("%j names %j", (title, expected) => {
    expect(namesIn(title)).toEqual(expected);
  });
});
