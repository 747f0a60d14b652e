"use strict";
// commander asks for it in case there are subcommands in files of their own. With what it brings it is 5 ms of every verb.
module.exports = require("./lazily.cjs")("node:child_process", ["execFile", "execFileSync", "spawn", "spawnSync"]);
