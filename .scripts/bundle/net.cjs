"use strict";
// For what is asked inside a machine, which few starts do: 2 ms.
module.exports = require("./lazily.cjs")("node:net", ["Socket"]);
