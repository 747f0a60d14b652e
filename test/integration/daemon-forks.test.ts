/** A host that has no room for one more process, or no memory for it: the one command fails, and berthd lives. */
import { spawn } from "node:child_process";
import { beforeAll, expect, test } from "vitest";
import { berthRoot, buildBerth, poll } from "../lib/berth.ts";
import { berthd } from "../lib/daemon.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";
import { shellMachine } from "../lib/shell-machine.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:strace");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

/** While it is there no process that the given one makes is made. */
async function withoutForks(pid: number, error: string): Promise<AsyncDisposable> {
  const calls = process.arch === "x64" ? "fork,vfork,clone,clone3" : "clone,clone3";
  const words = [
    "-f",
    "-p",
    `${pid}`,
    "-e",
    `trace=${calls}`,
    "-e",
    `inject=${calls}:error=${error}`,
    "-o",
    "/dev/null",
  ];
  const tracer = spawn("strace", words, { stdio: ["ignore", "ignore", "pipe"] });
  const end = new Promise<void>((resolve) => tracer.once("exit", () => resolve()));
  let said = "";
  tracer.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  await poll("strace", () => (said.includes(" attached") ? true : undefined));
  return {
    async [Symbol.asyncDispose]() {
      tracer.kill("SIGINT");
      await end;
    },
  };
}

test.each(["EAGAIN", "ENOMEM"])(
  "%s: starts fail with a reason and leave nothing, machines are seen; then all is as before",
  async (error) => {
    await using root = berthRoot();
    for (const name of ["m", "n"]) await shellMachine(root, name);
    await using daemon = await berthd(root);
    expect(await root.berth("start", "m")).toMatchObject({ status: 0 });
    const pid = root.daemonPid() ?? 0;
    {
      await using _ = await withoutForks(pid, error);
      // Stages that were made before may serve some: then there are none.
      const failures: string[] = [];
      for (let round = 0; round < 12; round++) {
        const start = await root.berth("start", "n");
        if (start.status === 0) expect((await root.berth("terminate", "n")).status).toBe(0);
        else failures.push(start.stderr);
      }
      expect(failures.length).toBeGreaterThan(8);
      for (const failure of failures) expect(failure).toMatch(new RegExp(`^berth: .*${error}`));
      expect(
        JSON.parse((await root.berth("list", "--json")).stdout).map(({ name }: { name: string }) => name),
      ).toContain("m");
      expect(root.record("m")).not.toBeNull();
    }
    expect(root.daemonPid()).toBe(pid);
    expect(await root.berth("start", "n")).toMatchObject({ status: 0 });
    expect((await root.berth("exec", "m", "--", "echo", "on")).stdout).toBe("on\n");
    for (const name of ["m", "n"]) expect((await root.berth("poweroff", name)).status).toBe(0);
    daemon.kill();
    expect((await daemon.end).status).toBe(0);
    expect(daemon.stderr).not.toContain("internal error");
    expect(root.leftovers()).toEqual([]);
  },
);
