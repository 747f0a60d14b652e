import { closeSync, fstatSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { BerthError } from "../errors.ts";
import type { CommandResult } from "../host/command.ts";
import { removeLargeTree } from "../host/remove-tree.ts";
import { openBelow } from "../sys/entries.ts";
import { O_DIRECTORY } from "../sys/files.ts";
import { type Begun, nameIn, PRIVATE } from "./copy-parts.ts";
import type { TreeWeights } from "./weigh-tree.ts";

/** Of a system's tree a fifth to a half, and hardly ever linked to anything else. */
const [OUTER, INNER] = ["usr", "share"];
/** Of one that has fewer directories it is not worth while. Some file systems count none: 1. */
const DIRECTORIES = 20;
/** Of a whole tree, what has been copied by when it is weighed. */
const MEANWHILE = 0.15;

export type CopyPart = (names: readonly Buffer[], signal: AbortSignal, hear?: Hear) => Promise<CommandResult>;
/** Does at once, or as soon as it is wanted, what something that cp(1) says calls for. */
export type Hear = (act: () => void) => void;

/**
 * A part of a tree that one cp(1) copies while the others would wait for the tree to be weighed. It may turn out that it is none that can be
 * copied alone: then all begins anew without it, and it is as if nothing had been said.
 */
export class EarlyPart implements Begun {
  readonly path = `${OUTER}/${INNER}`;
  readonly #made: string;
  readonly #ended = new AbortController();
  readonly #result: Promise<CommandResult>;
  #heard: (() => void)[] | null = [];

  private constructor(to: string, copy: CopyPart) {
    this.#made = mkdirSync(join(to, OUTER), { recursive: true, mode: PRIVATE }) ?? join(to, OUTER);
    const hear: Hear = (act) => void (this.#heard === null ? act() : this.#heard.push(act));
    this.#result = copy([nameIn(to, this.path)], this.#ended.signal, hear);
    this.#result.catch(() => undefined); // asked for later
  }

  /** Makes `to`, which may also be there and empty. Null: there is no such part. */
  static begin(from: string, to: string, copy: CopyPart): EarlyPart | null {
    return isThere(from) ? new EarlyPart(to, copy) : null;
  }

  left(weights: TreeWeights): number {
    return Math.max(0, weights.of(this.path) - MEANWHILE * weights.total);
  }

  /** It is one of the parts. */
  goOn(signal: AbortSignal): Promise<CommandResult> {
    const heard = this.#heard ?? [];
    this.#heard = null;
    for (const act of heard) act();
    const end = (): void => this.#ended.abort(signal.reason);
    if (signal.aborted) end();
    else signal.addEventListener("abort", end, { once: true });
    return this.#result.finally(() => signal.removeEventListener("abort", end));
  }

  /** It is none: nothing of it is left. */
  async giveUp(): Promise<void> {
    await this.end();
    await removeLargeTree(this.#made);
  }

  async end(): Promise<void> {
    this.#ended.abort(new BerthError("this part of a tree is not to be copied alone"));
    await this.#result.catch(() => undefined);
  }
}

/** Directories, no links and no other file system, and not small. */
function isThere(from: string): boolean {
  const opened: number[] = [];
  try {
    opened.push(openSync(from, O_DIRECTORY));
    for (const name of [OUTER, INNER]) opened.push(openBelow(opened.at(-1) as number, Buffer.from(name), O_DIRECTORY));
    const stats = opened.map((fd) => fstatSync(fd));
    const directories = stats.at(-1)?.nlink ?? 0;
    return new Set(stats.map(({ dev }) => dev)).size === 1 && (directories === 1 || directories >= DIRECTORIES);
  } catch {
    return false;
  } finally {
    for (const fd of opened) closeSync(fd);
  }
}
