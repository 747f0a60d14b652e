"use strict";
// dist/berth.cjs, dist/berthd.cjs. Runs the program with what V8 made of it when it was built (compile.cjs): to compile it anew, function
// by function, takes `berth run` 15 ms. Another runtime than the one it was made by compiles, and that is all.
const { readFileSync } = require("node:fs");
const { Script } = require("node:vm");

const bundle = __filename.replace(/cjs$/, "bundle");
const file = readFileSync(bundle);
const [runtime, length] = file.latin1Slice(0, 64).split(" ", 2);
const source = file.latin1Slice(64, 64 + Number(length));
const cachedData = runtime === `${process.version}-${process.arch}` ? file.subarray(64 + Number(length)) : undefined;
const script = new Script(source, { filename: `${bundle}.cjs`, cachedData });
script.runInThisContext()(exports, require, module, __filename, __dirname);
