import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { selfTest } from "../../../src/sys/poll.ts";

const IMPORTS = `
  import { readSync, writeSync } from "node:fs";
  import { watch } from ${JSON.stringify(new URL("../../../src/sys/poll.ts", import.meta.url).pathname)};
  import { pipe } from ${JSON.stringify(new URL("../../../src/sys/sockets.ts", import.meta.url).pathname)};
`;

const THROWS = `
  ${IMPORTS}
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
  const run = spawnSync(process.execPath, ["--expose-gc", "--input-type=module", "-e", THROWS], { encoding: "utf8" });
  expect(run.stdout).toBe("caught a mistake\n");
  expect(run.status).toBe(3);
});

test("koffi's polling is as it is taken for", async () => {
  await selfTest();
});

/** What is collected while nobody holds it, and how often a byte that is not read is told. */
const FORGETS = `
  ${IMPORTS}
  const [readEnd, writeEnd] = pipe();
  let times = 0;
  (() => {
    watch(readEnd, { readable: true }, ({ readable, writable, hangup }) => {
      if (++times === 3) readSync(readEnd, Buffer.alloc(1));
      if (times === 3) console.log(JSON.stringify({ readable, writable, hangup }));
    });
  })();
  for (let round = 0; round < 3; round++) {
    globalThis.gc();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  console.log("before", times);
  writeSync(writeEnd, "x");
  while (times < 3) await new Promise((resolve) => setTimeout(resolve, 5));
  await new Promise((resolve) => setTimeout(resolve, 50));
  console.log("after", times);
  process.exit(0);
`;

test("who is watched stays so when nobody holds it, is told of again until it is read, and then no more", () => {
  const run = spawnSync(process.execPath, ["--expose-gc", "--input-type=module", "-e", FORGETS], { encoding: "utf8" });
  expect(run.stdout).toBe(`before 0\n{"readable":true,"writable":false,"hangup":false}\nafter 3\n`);
  expect(run.status, run.stderr).toBe(0);
});
