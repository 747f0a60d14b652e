import { Command, CommanderError } from "commander";
import { expect, test } from "vitest";
import { defineOptions, type OptionDefinition } from "../../../src/cli/option-set.ts";
import { addStartOptions } from "../../../src/cli/start-options.ts";
import { generator } from "../../lib/random.ts";

/** What comes of a command line, but for the names that options were typed by: whether the parser knows all options or those that the words need. */
function outcome(words: readonly string[], definedFor: readonly string[] | undefined): unknown {
  const command = new Command("run").exitOverride().argument("[command...]").passThroughOptions();
  command.configureOutput({ writeOut: () => undefined, writeErr: () => undefined });
  const options = addStartOptions(command, definedFor);
  try {
    command.parse([...words], { from: "user" });
  } catch (error) {
    const help = error instanceof CommanderError && error.code === "commander.helpDisplayed";
    return { error: help ? command.helpInformation() : String(error) };
  }
  const assignments = options.assignments.map(({ section, key, value }) => ({ section, key, value }));
  return { ...options, assignments, args: command.args };
}

function defined(words: readonly string[]): readonly string[] {
  const command = new Command();
  addStartOptions(command, words);
  return command.options.map(({ long, short }) => long ?? short ?? "");
}

const ALL = new Command();
addStartOptions(ALL);

test.each<[readonly string[], readonly string[]]>([
  [[], []],
  [["-D", "/srv", "--", "--boot"], ["--directory"]],
  [["-D/h", "sh", "-c", "true", "--no-such"], ["--directory"]],
  [
    ["-bqM", "--user", "-x"],
    ["--machine", "--quiet", "--boot", "--ephemeral"],
  ],
  [
    ["--bind=/a", "--tmpfs", "--boot"],
    ["--bind", "--tmpfs"],
  ],
])("%j needs the options %j", (words, names) => {
  expect(defined(words).toSorted()).toEqual(names.toSorted());
});

test.each([["-h"], ["--help"], ["-qh"], ["--no-such"], ["--boot=yes"], ["-q", "-5"]])("%j needs all", (...words) => {
  expect(defined(words)).toHaveLength(ALL.options.length);
});

test("a command line means the same whether all options are defined or those it needs: 800 at random", () => {
  const random = generator(7);
  const pick = <T>(list: readonly T[]): T => list[random(list.length)] as T;
  const names = ALL.options.flatMap(({ long, short }) => [long, short].filter((name) => name !== undefined));
  const shorts = names.filter((name) => name.length === 2).map((name) => name.slice(1));
  const word = (): string =>
    pick([
      () => pick(names),
      () => `${pick(names)}=${pick(["", "x", "a=b", "no"])}`,
      () => `-${pick(shorts)}${pick(shorts)}${pick(["", "/p", "h", "5"])}`,
      () => pick(["sh", "/p", "NOFILE=1", "A=b", "no", "-", "--", "-h", "--help", "-5", "", "--no-such", "-=", "--=x"]),
    ])();
  for (let round = 0; round < 800; round++) {
    const words = Array.from({ length: random(6) }, word);
    expect(outcome(words, words), JSON.stringify(words)).toEqual(outcome(words, undefined));
  }
});

test("options are shown as they were typed", () => {
  const words = ["-b", "--bind=/a", "-p", "80", "--port", "81", "-np82", "-U", "--volatile=yes"];
  const command = new Command();
  const { assignments } = addStartOptions(command, words);
  command.parse(words, { from: "user" });
  const shown = ["-b", "--bind=/a", "-p 80", "--port=81", "-n", "-p 82", "-U", "--volatile=yes"];
  expect(assignments.map(({ option }) => option)).toEqual(shown);
});

test("help shows what may be left out, and what an option without a value stands for", () => {
  const [command, usual] = [new Command(), new Command()];
  addStartOptions(command, ["--help-all"]);
  addStartOptions(usual);
  const help = command.helpInformation();
  expect(usual.helpInformation()).toMatch(/--bind-ro <\S+>\s/);
  expect(usual.helpInformation()).not.toContain("LinkJournal");
  expect(usual.helpInformation()).toMatch(/-h, --help\s+this; --help-all lists all options/);
  for (const shown of [
    /--private-users\[=BOOL\S+\]\s/,
    /--volatile\[=BOOL\S+\]\s/,
    / -U\s+stands for PrivateUsers=pick\n/,
    / -j\s+stands for LinkJournal=try-guest\n/,
    /--bind-ro <\S+>\s/,
  ])
    expect(help).toMatch(shown);
});

test("an option that takes nothing is given nothing", () => {
  const got: unknown[] = [];
  const take = (value: string | undefined): number => got.push(value);
  const definitions: OptionDefinition[] = [
    { flags: "-a", help: "", take },
    { flags: "--no-b", help: "", take },
    { flags: "-c, --cc <X>", help: "", take },
  ];
  const command = new Command();
  defineOptions(command, definitions, ["-a", "--no-b", "-cX"]);
  command.parse(["-a", "--no-b", "-cX"], { from: "user" });
  expect(got).toEqual([undefined, undefined, "X"]);
});
