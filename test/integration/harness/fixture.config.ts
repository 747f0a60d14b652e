import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

/** For reporter.test.ts: runs the one file FIXTURE names, with our reporter. */
export default defineConfig({
  test: {
    root: fileURLToPath(new URL("../../..", import.meta.url)),
    include: [process.env["FIXTURE"] ?? ""],
    reporters: ["default", fileURLToPath(new URL("../../lib/reporter.ts", import.meta.url))],
  },
});
