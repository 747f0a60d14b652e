/** The other managers with many small machines: started, told to be up by a FIFO in each tree, and stopped. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { closeSync, constants, openSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { makeTree } from "./daemon-root.ts";
import { installed } from "./lib.ts";
import { NSPAWN, writeLxcConfig } from "./peers.ts";

const PATIENCE_MS = 60_000;

/** One machine of lxc's, which goes on until `stop`. */
export async function startLxc(
  work: string,
  tree: string,
): Promise<{ readonly attach: readonly string[]; stop(): void }> {
  const lxc = join(work, "lxc-one");
  writeLxcConfig(join(lxc, "m"), tree);
  const child = spawn("lxc-start", ["-F", "-P", lxc, "-n", "m", "--", "/sbin/init"], { stdio: "ignore" });
  child.on("error", () => undefined); // not installed: who needs it is left out
  await sleep(1000);
  return {
    attach: ["lxc-attach", "-P", lxc, "-n", "m", "--"],
    stop: () => {
      if (child.pid !== undefined && child.exitCode === null) execFileSync("lxc-stop", ["-k", "-P", lxc, "-n", "m"]);
    },
  };
}

/** Of a supervisor that is one process a machine. */
export type Supervisor = (tree: string, name: string) => readonly string[];

/** The managers to compare with that are installed; `work`: for what they keep of their machines. */
export function fleetPeers(work: string): readonly { readonly name: string; readonly argv: Supervisor }[] {
  const lxcPath = join(work, "lxc");
  const lxc: Supervisor = (tree, name) => {
    writeLxcConfig(join(lxcPath, name), tree);
    return ["lxc-start", "-F", "-P", lxcPath, "-n", name, "--", "/sbin/init"];
  };
  const nspawn: Supervisor = (tree, name) => [...NSPAWN, "--console=pipe", "-M", name, "-D", tree, "/sbin/init"];
  return installed([
    { name: "lxc", tool: "lxc-start", argv: lxc },
    { name: "nspawn", tool: "systemd-nspawn", argv: nspawn },
  ]);
}

export class PeerFleet {
  readonly #fifo: number;
  readonly #trees: readonly string[];
  readonly #argv: Supervisor;
  #children: ChildProcess[] = [];

  constructor(work: string, name: string, count: number, init: string, argv: Supervisor) {
    const fifo = join(work, `${name}-mark`);
    execFileSync("mkfifo", [fifo]);
    this.#fifo = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
    this.#argv = argv;
    this.#trees = Array.from({ length: count }, (_, index) => {
      const tree = join(work, `${name}-${index}`);
      makeTree(tree, init);
      execFileSync("ln", [fifo, join(tree, "mark")]);
      return tree;
    });
  }

  /** Resolves when the inits of all run. */
  async start(inParallel: boolean): Promise<void> {
    for (const [index, tree] of this.#trees.entries()) {
      const [program = "", ...words] = this.#argv(tree, `m${index}`);
      this.#children.push(spawn(program, words, { stdio: "ignore" }));
      if (!inParallel) await this.#up(1);
    }
    if (inParallel) await this.#up(this.#trees.length);
  }

  async #up(count: number): Promise<void> {
    const buffer = Buffer.alloc(count);
    const deadline = performance.now() + PATIENCE_MS;
    for (let seen = 0; seen < count; ) {
      try {
        seen += readSync(this.#fifo, buffer, 0, count - seen, null);
      } catch {
        if (performance.now() > deadline) throw new Error("a machine did not start");
        await sleep(0.2);
      }
    }
  }

  /** PSS of its supervisors, kB: whatever its inits are not. */
  memory(): number {
    const inits = new Set<number>();
    let sum = 0;
    for (const { pid = 0 } of this.#children) {
      const [all, own] = family(pid);
      for (const each of own) inits.add(each);
      for (const each of all) if (!inits.has(each)) sum += pssOf(each);
    }
    return sum;
  }

  async stop(): Promise<void> {
    const children = this.#children.splice(0);
    const ended = children.map((child) => new Promise((resolve) => child.once("exit", resolve)));
    for (const { pid = 0 } of children) for (const init of family(pid)[1]) process.kill(init, "SIGTERM");
    await Promise.all(ended);
  }

  close(): void {
    closeSync(this.#fifo);
  }
}

/** A process with all below it, and those of them that are a machine's PID 1. */
function family(pid: number): readonly [all: readonly number[], inits: readonly number[]] {
  if (pid <= 1) return [[], []];
  const below = childrenOf(pid).map(family);
  const isInit =
    /^NSpid:\s.*\s1$/m.test(text(`/proc/${pid}/status`)) && /tinyinit|init$/.test(text(`/proc/${pid}/comm`).trim());
  return [
    [pid, ...below.flatMap(([all]) => all)],
    [...(isInit ? [pid] : []), ...below.flatMap(([, inits]) => inits)],
  ];
}

function childrenOf(pid: number): readonly number[] {
  return text(`/proc/${pid}/task/${pid}/children`).split(" ").filter(Boolean).map(Number);
}

function pssOf(pid: number): number {
  return Number(/^Pss:\s+(\d+)/m.exec(text(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0);
}

function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
