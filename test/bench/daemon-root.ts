/** A berth root with machines whose init is a few lines of C, and a daemon for it. */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { DaemonClient } from "../../src/cli/daemon-client.ts";
import { INSTALLATION } from "../../src/host/installation.ts";
import { findPaths, type Paths } from "../../src/host/paths.ts";
import { BERTH, compileC } from "./lib.ts";

export class DaemonRoot {
  readonly paths: Paths;
  readonly env: NodeJS.ProcessEnv;
  readonly #init: string;

  constructor(work: string, env: NodeJS.ProcessEnv = {}) {
    this.env = { ...process.env, ...env, BERTH_ROOT: join(work, "root") };
    this.paths = findPaths(this.env, INSTALLATION, undefined);
    this.#init = compileC("tinyinit", work);
    process.on("exit", () => this.stop());
  }

  /** Names of `count` machines, each with a tree of its own. */
  machines(count: number): readonly string[] {
    // As a store is, and berth says it of each machine where it is not.
    mkdirSync(this.paths.machines, { recursive: true, mode: 0o700 });
    const names = Array.from({ length: count }, (_, index) => `m${index + 1}`);
    for (const name of names) makeTree(join(this.paths.machines, name), this.#init);
    return names;
  }

  berth(...words: readonly string[]): string {
    return execFileSync(BERTH, words, { env: this.env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  }

  async client(): Promise<DaemonClient> {
    const client = await DaemonClient.connect(this.paths);
    if (client === null) throw new Error("there is no daemon");
    return client;
  }

  get daemonPid(): number {
    return Number(readFileSync(join(this.paths.run, "berthd.lock"), "utf8"));
  }

  stop(): void {
    this.berth("daemon", "stop", "--machines");
  }
}

/** As little as the managers accept, with /bin/true for what enters it. */
export function makeTree(tree: string, init: string): void {
  for (const directory of ["sbin", "bin", "usr", "etc", "proc", "sys", "dev", "run", "tmp"])
    mkdirSync(join(tree, directory), { recursive: true });
  copyFileSync(init, join(tree, "sbin/init"));
}
