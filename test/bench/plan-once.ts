/**
 * What usual settings take at their first and only time in a process, as in `berth run`: argv is a settings file and a
 * tree, stdout the milliseconds. A program of its own, built as dist/berth is (bench/plan.ts does it): in sources V8
 * spends most of the time on compiling them.
 */
import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import { parseUnitFile } from "../../src/config/unit-file.ts";
import { compile } from "../../src/exec/compile.ts";
import { numberFds } from "../../src/exec/host-fds.ts";
import { findPaths } from "../../src/host/paths.ts";
import { readHostFacts } from "../../src/host/read-facts.ts";
import { placesOf } from "../../src/machine/places.ts";
import { readMachineFacts } from "../../src/machine/prepare.ts";
import { buildPlan } from "../../src/plan/build.ts";
import { buildSpec } from "../../src/spec/build-spec.ts";
import { byDefault } from "../../src/spec/source.ts";

const [file = "", tree = ""] = process.argv.slice(2);
const text = readFileSync(file, "utf8");
const paths = findPaths({}, tree, dirname(file));
const host = readHostFacts();

const begin = performance.now();
const { assignments } = parseUnitFile(text, file);
const given = { name: "bench", root: byDefault(tree), assignments, options: [], command: [], boot: true };
const { spec } = buildSpec(given);
if (spec === undefined) throw new Error(`${file}: the settings are wrong`);
const asking = performance.now();
const machine = readMachineFacts(spec, host, paths);
const asked = performance.now();
const request = { foreground: false, stdio: "console", term: null } as const;
const plan = buildPlan({ spec, host, machine, places: placesOf("bench", tree, paths), request });
const fds = numberFds(plan.steps.flatMap(({ args }) => ("fd" in args ? [args.fd] : [])));
compile(plan, host.arch, fds, Buffer.alloc(8));
console.log(performance.now() - asked + (asking - begin));
