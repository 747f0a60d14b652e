import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync, truncateSync, writeSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { StageProcess } from "../../../src/stage/stage-process.ts";
import { ARCH } from "../../../src/sys/libc.ts";
import { stageOf } from "../../lib/launch.ts";
import { needsHere } from "../../lib/requires.ts";

const COPY = "/memfd:berth-stage (deleted)";

function copies(): number[] {
  const fds = readdirSync("/proc/self/fd").map(Number);
  return fds.filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === COPY;
    } catch {
      return false; // the one that was read with
    }
  });
}

test("a stage is executed from one copy in memory that nobody can change, and has a name of its own", async () => {
  for (let round = 0; round < 3; round++) {
    const stage = StageProcess.spawn(stageOf(ARCH));
    const proc = `/proc/${stage.pid}`;
    expect(readlinkSync(`${proc}/exe`)).toBe(COPY);
    await expect.poll(() => readFileSync(`${proc}/comm`, "utf8")).toBe("berth-stage\n");
    await expect.poll(() => readdirSync(`${proc}/fd`)).toEqual(["0", "1", "2", "3"]);
    await stage.discard();
  }
  const [fd = -1, ...more] = copies();
  expect(more).toEqual([]);
  const path = `/proc/self/fd/${fd}`;
  expect(readFileSync(path).equals(readFileSync(stageOf(ARCH)))).toBe(true);
  expect(() => writeSync(fd, "x", 0)).toThrow("EPERM");
  for (const size of [0, 1 << 20]) expect(() => truncateSync(path, size)).toThrow("EPERM");
});

test("where the host executes no memfd it is the file itself", async (ctx) => {
  needsHere(ctx, "root", "tool:unshare");
  const module = fileURLToPath(new URL("../../../src/stage/stage-process.ts", import.meta.url));
  const script = `
    const { StageProcess } = await import(${JSON.stringify(module)});
    const { readlinkSync, writeFileSync } = await import("node:fs");
    try { writeFileSync("/proc/sys/vm/memfd_noexec", "2"); } catch { console.log("unknown"); process.exit(); }
    const stage = StageProcess.spawn(${JSON.stringify(stageOf(ARCH))});
    console.log(readlinkSync(\`/proc/\${stage.pid}/exe\`));
    await stage.discard();`;
  // The setting is a pid namespace's own.
  const words = ["--pid", "--fork", "--mount-proc", process.execPath, "--input-type=module", "-e", script];
  const said = execFileSync("unshare", words, { encoding: "utf8" }).trim();
  if (said === "unknown") ctx.skip("needs vm.memfd_noexec (Linux 6.3)");
  expect(said).toBe(stageOf(ARCH));
});
