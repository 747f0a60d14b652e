"use strict";
// dist/berth.cjs: what is asked for most is done without loading the rest.
const { quickly } = require("../../src/cli/quick.ts");

const rest = (status) => {
  if (status === undefined) require("./berth-main.cjs");
  else process.exit(status);
};
const done = quickly(process.argv.slice(2));
if (done instanceof Promise) {
  done.then(rest, (error) => {
    process.stderr.write(`berth: internal error: ${error.message}\n`);
    process.exit(1);
  });
} else rest(done);
