/** What scripts.test.ts bundles in place of src/cli/main.ts: a library, and a foreign function loaded late. */
import { createRequire } from "node:module";
import { Command } from "commander";

/** CommonJS modules of koffi that are loaded already. */
const loaded = () =>
  Object.keys(createRequire(import.meta.filename).cache).filter((path) => path.includes("/koffi/")).length;

const program = new Command().name("stub").allowUnknownOption().argument("[words...]");
program.option("--ffi").action(async (words: string[], options: { ffi?: true }) => {
  const before = loaded();
  const ok = options.ffi ? (await import("./ffi.ts")).getpid() === process.pid : undefined;
  const { execPath, env } = process;
  const after = loaded();
  console.log(JSON.stringify({ words, before, after, ok, execPath, cacheInEnv: "NODE_COMPILE_CACHE" in env }));
});
void program.parseAsync();
