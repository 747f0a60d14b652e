"use strict";
module.exports = require("./lazily.cjs")("node:os", [
  "availableParallelism",
  "constants",
  "freemem",
  "hostname",
  "release",
  "tmpdir",
  "uptime",
]);
