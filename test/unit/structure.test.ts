import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { importsOf, violations } from "../lib/structure.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

function sourcesBelow(...directories: string[]): Map<string, string> {
  const paths = directories.flatMap((directory) => sourcesIn(join(root, directory)));
  return new Map(paths.map((path) => [relative(root, path), readFileSync(path, "utf8")]));
}

/** Not into the trees of machines in test/.cache, whose links lead readdir(recursive) out into the host. */
function sourcesIn(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    if (entry.isDirectory() && entry.name !== ".cache") return sourcesIn(path);
    return entry.isFile() && entry.name.endsWith(".ts") ? [path] : [];
  });
}

test("src/ and test/ keep the rules of test/lib/structure.ts", () => {
  const sources = sourcesBelow("src", "test");
  expect(sources.size).toBeGreaterThan(50);
  expect(violations(sources)).toEqual([]);
});

describe("the rules catch", () => {
  const OK: [string, string][] = [
    ["src/spec/a.ts", 'import type { HostFacts } from "../plan/facts.ts";'],
    ["src/config/a.ts", 'import { join } from "node:path";\nimport { parse } from "ini";'],
    ["src/sys/a.ts", 'import koffi from "koffi";\nimport { BerthError } from "../errors.ts";'],
    ["src/cli/a.ts", 'const { start } = await import("../machine/start.ts");'],
    ["src/plan/a.ts", '// import { readFileSync } from "node:fs";\nimport type { Stats } from "node:fs";'],
    ["test/integration/a.test.ts", "checkLeaks();"],
    ["test/unit/a.test.ts", 'import { x } from "../../src/sys/a.ts";\nimport { readFileSync } from "node:fs";'],
  ];
  test.each(OK)("nothing wrong with %s: %j", (path, text) => {
    expect(violations(new Map([[path, text]]))).toEqual([]);
  });

  const BAD: [path: string, complaint: string, text: string][] = [
    ["src/exec/a.ts", "only src/sys calls foreign functions", 'import koffi from "koffi";'],
    ["src/plan/a.ts", "touches nothing of the world", 'import { readFileSync } from "node:fs";'],
    ["src/config/a.ts", "touches nothing of the world", 'import {\n  readFileSync,\n  statSync,\n} from "node:fs";'],
    ["src/plan/a.ts", "touches nothing of the world", 'import "node:fs";'],
    ["src/spec/a.ts", "src/spec may import", 'export { now } from "../sys/clock.ts";'],
    ["src/plan/a.ts", "src/plan may import", 'const x = await import("../host/read-facts.ts");'],
    ["src/spec/a.ts", "src/spec may import", 'import { build } from "../plan/build.ts";'],
    ["src/spec/a.ts", "src/spec may import", 'import { RLIMIT_NAMES } from "../plan/facts.ts";'],
    ["src/sys/a.ts", "src/sys may import of src/: nothing", 'import { plan } from "../plan/build.ts";'],
    ["src/cli/verbs/a.ts", "src/cli may import", 'import { open } from "../../sys/files.ts";'],
    ["src/machine/a.ts", "src/machine may import", 'import { Context } from "../cli/verb.ts";'],
    ["src/novel/a.ts", "has no row in MAY_IMPORT", 'import { x } from "../sys/a.ts";'],
    ["src/cli/a.ts", "what is built is run, never imported", 'import x from "../../dist/berth.mjs";'],
    ["test/unit/a.test.ts", "what is built is run, never imported", 'import x from "../../dist/berth.mjs";'],
    ["src/cli/a.ts", "it lies outside src/", 'import x from "../../test/lib/leaks.ts";'],
    ["test/integration/a.test.ts", "does not look for what it leaves", "test('x', () => {}); // checkLeaks"],
    ["src/cli/a.ts", "has 351 lines, over 350", "x;\n".repeat(351)],
  ];
  test.each(BAD)("%s: %s", (path, complaint, text) => {
    expect(violations(new Map([[path, text]]))).toEqual([expect.stringContaining(complaint)]);
  });

  test("a cycle, once, and not one of types", () => {
    const ring = new Map([
      ["src/exec/c.ts", 'import { a } from "./a.ts";'],
      ["src/exec/a.ts", 'import { b } from "./b.ts";'],
      ["src/exec/b.ts", 'import { c } from "./c.ts";\nimport { a } from "./a.ts";'],
    ]);
    expect(violations(ring)).toEqual([
      "circular import: src/exec/a.ts -> src/exec/b.ts -> src/exec/c.ts -> src/exec/a.ts",
      "circular import: src/exec/a.ts -> src/exec/b.ts -> src/exec/a.ts",
    ]);
    const types = new Map([
      ["src/exec/a.ts", 'import { b } from "./b.ts";'],
      ["src/exec/b.ts", 'import type { A } from "./a.ts";'],
    ]);
    expect(violations(types)).toEqual([]);
  });
});

test("importsOf reads every form of import", () => {
  const text = `
    import fs, { type Stats } from "node:fs";
    import type { A } from "./a.ts";
    import * as b from '../b.ts';
    export * from "./c.ts";
    export type { D } from "./d.ts";
    const e = () => import("./e.ts");
    const text = "from nowhere";
  `;
  expect(importsOf("src/x/y.ts", text)).toEqual([
    { target: "node:fs", typeOnly: false },
    { target: "src/x/a.ts", typeOnly: true },
    { target: "src/b.ts", typeOnly: false },
    { target: "src/x/c.ts", typeOnly: false },
    { target: "src/x/d.ts", typeOnly: true },
    { target: "src/x/e.ts", typeOnly: false },
  ]);
});
