import type koffi from "koffi";

/**
 * koffi's native half, loaded from where npm puts it. koffi's own entry looks for it by reading node's ELF header and
 * with node:module, and wraps old names: 5 ms of every start (measured), a seventh of `berth run`. Where it is not
 * (another package manager, another libc) that entry finds it.
 */
export default load();

function load(): typeof koffi {
  const installation = import.meta.dirname.replace(/\/(dist|src\/sys)$/, "");
  const platform = `linux-${process.arch}`;
  const path = `${installation}/node_modules/@koromix/koffi-${platform}/${platform.replace("-", "_")}/koffi.node`;
  const module = { exports: {} };
  try {
    process.dlopen(module, path);
    return module.exports as typeof koffi;
  } catch {
    const { createRequire } = process.getBuiltinModule("node:module");
    return createRequire(import.meta.filename)("koffi") as typeof koffi;
  }
}
