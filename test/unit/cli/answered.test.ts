import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const MODULE = fileURLToPath(new URL("../../../src/cli/answered.ts", import.meta.url));

/** In a process of its own, whose stderr is what is said. */
function answered(...words: readonly string[]): { status: number | null; said: string } {
  const script = `import { answered } from ${JSON.stringify(MODULE)}; process.exit(answered(process.argv.slice(1)));`;
  const { status, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script, "--", ...words], {
    encoding: "utf8",
  });
  return { status, said: stderr };
}

function error(message: string, hint: string | null, exitStatus: number): string {
  return JSON.stringify({ id: 1, error: { message, hint, kind: null, exitStatus } });
}

test.each<[string, readonly string[], number, string]>([
  ["a failure, with its hint", ["exec", error("no machine", "try web", 1)], 125, "berth: no machine\nhint: try web\n"],
  ["one with an exit status of its own", ["exec", error("no program", null, 127)], 127, "berth: no program\n"],
  ["berthd has gone", ["exec", ""], 125, "berth: berthd has gone\nhint: berth daemon status\n"],
  ["what is no answer", ["exec", '{"id":1}'], 125, 'berth: berthd\'s answer is none: {"id":1}\n'],
  [
    "failures of several, and then the news",
    ["start", error("a", null, 1), '{"id":2,"event":{"said":"weak\\u001b"}}', error("b", "c", 3)],
    3,
    "berth: a\nberth: b\nhint: c\nberth: weak\\u{1b}\n",
  ],
  ["news only", ["start", '{"id":2,"event":{"said":"weak"}}'], 0, "berth: weak\n"],
  ["what was said before it was interrupted", ["start-interrupted", error("a", null, 1)], 130, "berth: a\n"],
])("%s", (_, words, status, said) => {
  expect(answered(...words)).toEqual({ status, said });
});
