import { describe, expect, test } from "vitest";
import { verbFirst } from "../../../src/cli/verb-first.ts";

/** In words, as a command line has them. */
async function ordered(line: string): Promise<string> {
  return (await verbFirst(line.split(" "))).join(" ");
}

describe("options before the verb are put behind it", () => {
  test.each([
    // What it knows, and what every verb does.
    ["-q list", "list -q"],
    ["--no-pager --no-legend list --json", "list --no-pager --no-legend --json"],
    ["-n 5 status m", "status -n 5 m"],
    ["-n5 --lines=7 status m", "status -n5 --lines=7 m"],
    ["-aP state show m", "show -aP state m"],
    ["-q stop m", "stop -q m"],
    ["-q run -D /t -- list -x", "run -q -D /t -- list -x"],
    ["-q exec m list -x", "exec -q m list -x"],
    ["-M m run -b", "run -M m -b"],
    // The value of one may be a verb's name.
    ["-p list show m", "show -p list m"],
    ["-M run run -b", "run -M run -b"],
    // berth's own is for itself.
    ["-q --root /r list", "--root /r list -q"],
    ["--root=/r -q list", "--root=/r list -q"],
    ["--root list -q show", "--root list show -q"],
    ["-q exec m cmd --root /x", "exec -q m cmd --root /x"],
    // What the verb does not know it is left to say.
    ["-M deb shell", "shell -M deb"],
    ["--bogus list", "list --bogus"],
    ["-p", "-p"],
    // No verb.
    ["-q lst", "lst"],
    ["-q --help", "--help"],
    ["-h list", "-h list"],
    ["--version -q", "--version -q"],
  ])("%s", async (line, wanted) => {
    expect(await ordered(line)).toBe(wanted);
  });

  test("an option's wrong value does not hide the verb", async () => {
    expect(await ordered("--console=loud run -b")).toBe("run --console=loud -b");
  });
});
