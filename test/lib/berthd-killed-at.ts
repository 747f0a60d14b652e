/**
 * berthd that is killed, with SIGKILL, by the host step of a launch with this number (from 0), before it does it:
 *
 *   BERTH_ROOT=... node test/lib/berthd-killed-at.ts 7
 *
 * For tests: a daemon in which the launch counts its steps, and which is otherwise that of dist/berthd.
 */
import { Launch } from "../../src/exec/launch.ts";

const last = Number(process.argv[2]);
process.argv.splice(2);

let steps = 0;
const { throwIfAborted } = Launch.prototype;
// Called before each step of the host, and once more when the machine runs.
Launch.prototype.throwIfAborted = function (this: Launch): void {
  if (steps++ === last) process.kill(process.pid, "SIGKILL");
  throwIfAborted.call(this);
};

await import("../../src/daemon/main.ts");
