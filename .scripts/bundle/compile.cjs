"use strict";
// compile.cjs BUNDLE: puts the code that V8 makes of it behind it. One file, so that the two never differ: 64 bytes of
// `RUNTIME LENGTH `, the source (ASCII, so that V8 keeps one byte a character), the code.
const { spawnSync } = require("node:child_process");
const {
  existsSync,
  mkdirSync,
  mkdtempSync,
  copyFileSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} = require("node:fs");
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
    const tree = makeTree(join(work, "tree"));
    const code = join(work, "code");
    const words = ["--root", join(work, "root"), "run", "-D", tree, "--", "/payload"];
    // The first one compiles a system call filter, which the second one finds, as most do.
    for (let run = 1; run <= 2; run++)
      spawnSync(process.execPath, [__filename, path, code, ...words], { stdio: "ignore", timeout: 20_000 });
    return existsSync(code) ? readFileSync(code) : null;
  } finally {
    rmSync(work, { recursive: true });
  }
}

/** With what most trees have, so that what reads it runs. */
function makeTree(tree) {
  for (const directory of ["etc", "usr/lib/systemd", "usr/share/zoneinfo/Etc", "var/log/journal"])
    mkdirSync(join(tree, directory), { recursive: true });
  for (const program of ["payload", "usr/lib/systemd/systemd"])
    copyFileSync(join(CHECKOUT, "src/stage", `stage-${process.arch}`), join(tree, program));
  writeFileSync(join(tree, "etc/os-release"), 'ID=debian\nPRETTY_NAME="Debian GNU/Linux"\n');
  writeFileSync(join(tree, "etc/machine-id"), "");
  writeFileSync(join(tree, "usr/share/zoneinfo/Etc/UTC"), "TZif2");
  symlinkSync("/usr/share/zoneinfo/Etc/UTC", join(tree, "etc/localtime"));
  return tree;
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
// So commander asks of each option whether it takes several values. To know what else than \w is meant takes V8 0.4 ms; ours are ASCII.
const SLOW = String.raw`new RegExp("\\p{ID_Continue}\\.\\.\\.[>\\]]$","u")`;
const text = readFileSync(path, "latin1").replace(SLOW, String.raw`/\w\.\.\.[>\]]$/`);
// V8 copies code that does not begin at a multiple of eight before it reads it: half a millisecond.
const wrapped = `(function (exports, require, module, __filename, __dirname) {${text}\n})`;
const source = wrapped.padEnd(Math.ceil(wrapped.length / 8) * 8);
if (code !== undefined) perform(new Script(source, { filename: path }), code, words);
else {
  const head = `${process.version}-${process.arch} ${source.length} `.padEnd(64);
  // Of what the daemon needs little stays in memory when it is compiled as it is called: 2.5 MB less than with all of it.
  const made = path.endsWith("/berthd.bundle") ? Buffer.alloc(0) : (rehearse(path) ?? compileAll(source, path));
  writeFileSync(path, Buffer.concat([Buffer.from(head + source, "latin1"), made]));
}
