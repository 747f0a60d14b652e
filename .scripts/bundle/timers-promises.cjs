"use strict";
module.exports = require("./lazily.cjs")("node:timers/promises", ["setTimeout", "setImmediate"]);
