import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Proof, Proofs } from "../../src/cli/man-compat.ts";
import { SETTINGS } from "../../src/config/settings.ts";
import { INSTALLATION } from "../../src/host/installation.ts";

/**
 * The tests under test/integration that have settings (`NoNewPrivileges=yes: ...`) or options (`--as-pid2: ...`) in their
 * titles, by those. Titles are string literals before a function: `test("...", ...)`, `test.each([...])("...", ...)`.
 */
export function findProofs(): Proofs {
  const directory = join(INSTALLATION, "test", "integration");
  const proofs = new Map<string, Proof[]>();
  for (const file of readdirSync(directory).sort()) {
    if (!file.endsWith(".test.ts")) continue;
    for (const title of titles(readFileSync(join(directory, file), "utf8")))
      for (const name of namesIn(title).flatMap(expand))
        proofs.set(name, [...(proofs.get(name) ?? []), { file, title }]);
  }
  return proofs;
}

/** A string as the first argument, and after it a function, or options and a function. */
const TITLE =
  /(?<!describe(?:\.\w+)?)\(\s*("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\$]|\\.)*`),\s*(?:\{[^{}]*\},\s*)?(?:async\b\s*)?\(?[\w{}:, ()[\]]*\)?\s*=>/g;

export function titles(text: string): readonly string[] {
  return [...text.matchAll(TITLE)].map(([, literal = ""]) => literal.slice(1, -1).replace(/\\(.)/g, "$1"));
}

/** `Boot=`, `--boot`, `-U`: each once. `Limit%s=` of a test that is made of a list stands for all of that beginning. */
export function namesIn(title: string): readonly string[] {
  const found = title.match(/(?<![\w-])(?:[A-Z][A-Za-z0-9]*(?:%s)?=|--[a-z][a-z0-9-]*|-[A-Za-z](?![\w-]))/g) ?? [];
  return [...new Set(found)];
}

function expand(name: string): readonly string[] {
  const [beginning = "", rest] = name.split("%s");
  if (rest === undefined) return [name];
  return SETTINGS.filter(({ key }) => key.startsWith(beginning)).map(({ key }) => `${key}=`);
}
