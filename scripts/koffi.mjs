/** What `import "koffi"` is in the bundle: the package in node_modules, loaded when first needed (scripts/build). */
import { createRequire } from "node:module";

export default createRequire(import.meta.url)("koffi");
