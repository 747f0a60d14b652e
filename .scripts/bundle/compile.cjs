"use strict";
// compile.cjs BUNDLE: puts the code that V8 makes of it behind it. One file, so that the two never differ: 64 bytes of
// `RUNTIME LENGTH `, the source (ASCII, so that V8 keeps one byte a character), the code.
const { readFileSync, writeFileSync } = require("node:fs");
const v8 = require("node:v8");
const { Script } = require("node:vm");

const [, , path] = process.argv;
const source = `(function (exports, require, module, __filename, __dirname) {${readFileSync(path, "latin1")}\n})`;
// All functions now instead of each at its first call; the flag must be off again, since it is part of what V8 checks.
v8.setFlagsFromString("--no-lazy");
const script = new Script(source, { filename: path });
v8.setFlagsFromString("--lazy");
const head = `${process.version}-${process.arch} ${source.length} `.padEnd(64);
writeFileSync(path, Buffer.concat([Buffer.from(head + source, "latin1"), script.createCachedData()]));
