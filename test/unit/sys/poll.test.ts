import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";

const PROGRAM = `
  import { writeSync } from "node:fs";
  import { watch } from ${JSON.stringify(new URL("../../../src/sys/poll.ts", import.meta.url).pathname)};
  import { pipe } from ${JSON.stringify(new URL("../../../src/sys/sockets.ts", import.meta.url).pathname)};
  process.on("uncaughtException", (error) => {
    // Where it was kept pending, the next garbage collection ended the process.
    for (let round = 0; round < 3; round++) globalThis.gc();
    console.log("caught", error.message);
    process.exit(3);
  });
  const [readEnd, writeEnd] = pipe();
  const unwatch = watch(readEnd, { readable: true }, () => {
    unwatch();
    throw new Error("a mistake");
  });
  writeSync(writeEnd, "x");
`;

test("what a callback throws is an uncaught exception, as that of any other callback", () => {
  const run = spawnSync(process.execPath, ["--expose-gc", "--input-type=module", "-e", PROGRAM], { encoding: "utf8" });
  expect(run.stdout).toBe("caught a mistake\n");
  expect(run.status).toBe(3);
});
