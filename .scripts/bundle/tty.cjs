"use strict";
// With the streams that it brings, it is 4 ms of a list, which needs none.
module.exports = require("./lazily.cjs")("node:tty", ["isatty"]);
