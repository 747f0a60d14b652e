/**
 * A clone that is killed, with SIGKILL, before its system call of this number (from 0) that changes the store:
 *
 *   BERTH_ROOT=... node test/lib/clone-killed-at.ts 7 web copy
 *
 * It ends with status 0 when it has not made so many. For tests.
 */
import fs from "node:fs";
import promises from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";

const [last, from = "", to = ""] = process.argv.slice(2);
let calls = 0;

function counted<T extends unknown[], R>(call: (...args: T) => R): (...args: T) => R {
  return (...args) => {
    if (calls++ === Number(last)) process.kill(process.pid, "SIGKILL");
    return call(...args);
  };
}

// All that is imported by name from these has them from here on.
fs.mkdirSync = counted(fs.mkdirSync) as typeof fs.mkdirSync;
fs.renameSync = counted(fs.renameSync);
fs.symlinkSync = counted(fs.symlinkSync);
fs.rmdirSync = counted(fs.rmdirSync);
fs.chmodSync = counted(fs.chmodSync);
promises.mkdir = counted(promises.mkdir) as typeof promises.mkdir;
promises.rmdir = counted(promises.rmdir);
syncBuiltinESMExports();

const { findPaths } = await import("../../src/host/paths.ts");
const { ImageStore } = await import("../../src/image/store.ts");
const paths = findPaths(process.env, "/nowhere", undefined);
await new ImageStore(paths).clone(from, to, { readOnly: false, signal: new AbortController().signal });
