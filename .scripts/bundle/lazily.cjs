"use strict";
// Stands for a module of node's in the bundle: loaded when something is used of it, and not when what imports it is.
module.exports = (module, names) =>
  Object.defineProperties(
    {},
    Object.fromEntries(
      names.map((name) => [name, { enumerable: true, get: () => process.getBuiltinModule(module)[name] }]),
    ),
  );
