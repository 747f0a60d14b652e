"use strict";
// dist/berth.cjs, dist/berthd.cjs. Runs a program with what V8 made of it when it was built (compile.cjs): to compile it anew, function
// by function, takes `berth run` 15 ms. Another runtime than the one it was made by compiles, and that is all. What is asked for most
// (src/cli/quick.ts) is done without loading the rest, and so is a run. This is one file, as each that is required costs half a millisecond.
const { readFileSync } = require("node:fs");
const { Script } = require("node:vm");

const PROGRAM = __filename.slice(0, -".cjs".length);
const QUICK = ["list", "start", "start-begun", "exec-answered"];

function load(bundle) {
  const file = readFileSync(bundle);
  const [runtime, length] = file.latin1Slice(0, 64).split(" ", 2);
  const source = file.latin1Slice(64, 64 + Number(length));
  const cachedData = runtime === `${process.version}-${process.arch}` ? file.subarray(64 + Number(length)) : undefined;
  const script = new Script(source, { filename: `${bundle}.cjs`, cachedData });
  const program = { exports: {} };
  script.runInThisContext()(program.exports, require, program, __filename, __dirname);
  return program.exports;
}

/** `status`: of what has been done already. */
function rest(status) {
  if (status === undefined) load(`${PROGRAM}.bundle`);
  else process.exit(status);
}

const verb = PROGRAM.endsWith("/berth") ? process.argv[2] : undefined;
const done = QUICK.includes(verb) ? load(`${PROGRAM}-quick.bundle`).quickly(process.argv.slice(2)) : undefined;
if (verb === "run") load(`${PROGRAM}-run.bundle`);
else if (done instanceof Promise) {
  done.then(rest, (error) => {
    process.stderr.write(`berth: internal error: ${error.message}\n`);
    process.exit(1);
  });
} else rest(done);
