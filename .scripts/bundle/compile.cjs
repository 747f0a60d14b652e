"use strict";
// compile.cjs BUNDLE: puts the code that V8 makes of it behind it. One file, so that the two never differ: 64 bytes of
// `RUNTIME LENGTH `, the source (ASCII, so that V8 keeps one byte a character), the code.
const { spawnSync } = require("node:child_process");
const { existsSync, mkdirSync, mkdtempSync, copyFileSync, readFileSync, rmSync, writeFileSync } = require("node:fs");
const { createRequire } = require("node:module");
const { tmpdir } = require("node:os");
const { join } = require("node:path");
const v8 = require("node:v8");
const { Script } = require("node:vm");

/** What the stage says when it is started as a command: the launch came to its end. */
const REHEARSED = 126;
const CHECKOUT = join(__dirname, "..", "..");

/** The code of the functions that `berth run` needs, which is half of all and loads in half the time; null if it did not run. */
function rehearse(path) {
  const work = mkdtempSync(join(tmpdir(), "berth-build-"));
  try {
    const tree = join(work, "tree");
    mkdirSync(join(tree, "usr"), { recursive: true });
    copyFileSync(join(CHECKOUT, "src/stage", `stage-${process.arch}`), join(tree, "payload"));
    const code = join(work, "code");
    const words = ["--root", join(work, "root"), "run", "-D", tree, "--", "/payload"];
    spawnSync(process.execPath, [__filename, path, code, ...words], { stdio: "ignore", timeout: 20_000 });
    return existsSync(code) ? readFileSync(code) : null;
  } finally {
    rmSync(work, { recursive: true });
  }
}

/** Runs the bundle as a command would from the checkout's sources, and writes down the code there is at the end. */
function perform(script, code, words) {
  const here = join(CHECKOUT, "src", "cli", "main.cjs");
  process.argv.splice(2, Number.POSITIVE_INFINITY, ...words);
  process.on("exit", (status) => {
    if (status === REHEARSED) writeFileSync(code, script.createCachedData());
  });
  script.runInThisContext()({}, createRequire(here), {}, here, join(here, ".."));
}

/** The code of all functions, at once; the flag must be off again, since it is part of what V8 checks. */
function compileAll(source, path) {
  v8.setFlagsFromString("--no-lazy");
  const script = new Script(source, { filename: path });
  v8.setFlagsFromString("--lazy");
  return script.createCachedData();
}

const [, , path, code, ...words] = process.argv;
// V8 copies code that does not begin at a multiple of eight before it reads it: half a millisecond.
const wrapped = `(function (exports, require, module, __filename, __dirname) {${readFileSync(path, "latin1")}\n})`;
const source = wrapped.padEnd(Math.ceil(wrapped.length / 8) * 8);
if (code !== undefined) perform(new Script(source, { filename: path }), code, words);
else {
  const head = `${process.version}-${process.arch} ${source.length} `.padEnd(64);
  // What the daemon needs of its code it needs soon, and has for long; and the quick bundle is small.
  const made = (/(?:berthd|-quick)\.bundle$/.test(path) ? null : rehearse(path)) ?? compileAll(source, path);
  writeFileSync(path, Buffer.concat([Buffer.from(head + source, "latin1"), made]));
}
