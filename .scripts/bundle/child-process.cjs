"use strict";
// Stands for node:child_process in the bundle: loaded when something is used of it, not when commander is loaded, which
// asks for it in case there are subcommands in files of their own. With what it brings that is 5 ms of every verb.
for (const name of ["execFile", "execFileSync", "spawn", "spawnSync"])
  Object.defineProperty(exports, name, {
    enumerable: true,
    get: () => process.getBuiltinModule("node:child_process")[name],
  });
