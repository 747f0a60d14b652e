import { Command } from "commander";
import { describe, expect, test } from "vitest";
import { VERBS, verbGroups } from "../../../src/cli/verbs.ts";

test("each verb is in one group of the overview", () => {
  const grouped = verbGroups().flatMap(([, names]) => names);
  expect([...grouped].sort()).toEqual(Object.keys(VERBS).sort());
  expect(verbGroups().map(([title]) => title)).not.toContain("Others");
});

describe("help fits on a screen", () => {
  test.each(Object.keys(VERBS))("%s", async (verb) => {
    const program = new Command("berth").enablePositionalOptions();
    (await VERBS[verb]?.load())?.define(program, () => async () => undefined);
    const [command] = program.commands;
    command?.configureOutput({ getOutHelpWidth: () => 100 });
    expect(command?.helpInformation().split("\n").length).toBeLessThan(45);
  });
});
