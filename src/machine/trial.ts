import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BerthError } from "../errors.ts";
import { Launch, LaunchError } from "../exec/launch.ts";
import { filterFor } from "../exec/seccomp-filter.ts";
import type { Finding } from "../host/doctor.ts";
import { INSTALLATION, stagePath } from "../host/installation.ts";
import type { Paths } from "../host/paths.ts";
import { selfTest } from "../sys/poll.ts";
import { prepare } from "./prepare.ts";

/** What facts can't tell is tried: event waiting, and the whole start of a default machine but for its payload. */
export async function tryHost(paths: Paths): Promise<readonly Finding[]> {
  return [await tryEvents(), await tryLaunch(paths)];
}

async function tryEvents(): Promise<Finding> {
  const check = "events";
  try {
    await selfTest();
    return { check, state: "ok", detail: "koffi.node.poll reports what it should" };
  } catch (error) {
    return failed(check, error);
  }
}

/** An empty tree has no program to execute: a launch that gets as far as that did everything else. */
async function tryLaunch(paths: Paths): Promise<Finding> {
  const check = "launch";
  if (process.geteuid?.() !== 0)
    return { check, state: "unknown", detail: "only root can try a launch", fix: "sudo berth doctor" };
  const store = existsSync(paths.machines) ? paths.machines : tmpdir();
  const directory = mkdtempSync(join(store, ".berth-trial-"));
  try {
    const tree = join(directory, "trial");
    mkdirSync(tree);
    const own = { ...paths, etc: directory, run: join(directory, "run"), machines: directory };
    const request = {
      name: "trial",
      directory: tree,
      options: [],
      command: ["/nothing"],
      boot: false,
      console: undefined,
    };
    const prepared = prepare(request, own, INSTALLATION);
    const { plan } = await prepared.plan({ foreground: false, stdio: "console", term: null });
    const { arch } = prepared.host;
    const load = (policy: Parameters<typeof filterFor>[0]): Buffer => filterFor(policy, paths.cache);
    await new Launch(plan, { stage: stagePath(arch), arch, loadFilter: load }).run();
    throw new BerthError("a program that is not there was executed");
  } catch (error) {
    const executing = error instanceof LaunchError && error.step?.kind === "execute";
    return executing
      ? { check, state: "ok", detail: "every step of a default machine's start works" }
      : failed(check, error);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function failed(check: string, error: unknown): Finding {
  if (!(error instanceof BerthError)) throw error;
  const finding = { check, state: "failed", detail: error.message } as const;
  return error.hint === undefined ? finding : { ...finding, fix: error.hint };
}
