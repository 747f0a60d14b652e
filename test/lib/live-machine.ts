/**
 * A machine that goes on running, with the host's programs in its /usr, for tests of what is done to running machines:
 *
 *   await using live = await liveMachine(["--private-users=no"]);
 *   const { stdout } = await live.inside("ls /data");            // sh -c in it, as its root
 *   await live.berth("bind", "m", "/srv/data", "/data");
 */
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { type BerthRoot, berthRoot, type End, type Running } from "./berth.ts";
import { probeTree } from "./probe.ts";

/** The variants of a machine that what is done to it can depend on. */
export const USERS = [
  ["in a user namespace", []],
  ["with PrivateUsers=no", ["--private-users=no"]],
] as const;

export interface LiveMachine extends AsyncDisposable {
  readonly root: BerthRoot;
  readonly tree: string;
  readonly running: Running;
  /** The host's id of its root. */
  readonly base: number;
  inside(script: string): Promise<End>;
  berth(...words: readonly string[]): Promise<End>;
}

export async function liveMachine(options: readonly string[] = []): Promise<LiveMachine> {
  const root = berthRoot();
  const tree = await probeTree({ at: join(root.machines, "m"), init: true });
  for (const name of ["bin", "lib", "lib64"]) symlinkSync(`usr/${name}`, join(tree, name));
  mkdirSync(join(tree, "mnt"));
  const words = ["-M", "m", "-b", "--console=read-only", "--bind-ro=/usr", ...options, "--", "--term"];
  const running = root.start("run", "-q", ...words);
  await running.until(/^up/m);
  const { uidShift } = await root.recordWhen("m");
  return {
    root,
    tree,
    running,
    base: uidShift ?? 0,
    inside: (script) => root.berth("exec", "m", "--", "sh", "-c", script),
    berth: (...words) => root.berth(...words),
    async [Symbol.asyncDispose]() {
      running.kill();
      await running.end;
      await root[Symbol.asyncDispose]();
    },
  };
}
