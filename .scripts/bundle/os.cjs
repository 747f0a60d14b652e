"use strict";
module.exports = require("./lazily.cjs")("node:os", [
  "availableParallelism",
  "constants",
  "hostname",
  "release",
  "tmpdir",
  "uptime",
]);
