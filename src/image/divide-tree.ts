import { availableParallelism } from "node:os";
import type { CommandResult } from "../host/command.ts";
import { type CopyPart, EarlyPart } from "./copy-early.ts";
import { DividedTree } from "./copy-parts.ts";
import { isLocalAt } from "./file-systems.ts";
import { type TreeWeights, weighTree } from "./weigh-tree.ts";

/** Cores that are used at most. */
const CORES_MAX = 5;
/** What one cp(1) has copied before another one has begun. */
const SMALL = 1000;

export interface DivideOptions {
  readonly oneFileSystem: boolean;
  readonly signal: AbortSignal;
  /** For a part that is copied meanwhile. Null: what cp(1) is given for parts would not lead to them. */
  readonly copyEarly: CopyPart | null;
  readonly onWeighed: (weights: TreeWeights | null) => void;
}

export interface Division {
  readonly tree: DividedTree;
  /** A cp(1) each, for `copyPart`, which is told whether they need the name of the directory that the copy lies in. */
  runs(copyPart: (named: boolean) => CopyPart): readonly ((signal: AbortSignal) => Promise<CommandResult>)[];
}

/** Weighs a tree, and divides it where that is sooner. Null: it stays in one piece, none of which is there. */
export async function divideTree(
  from: string,
  to: string,
  { oneFileSystem, signal, copyEarly, onWeighed }: DivideOptions,
): Promise<Division | null> {
  if (!(await isLocalAt(from))) return null;
  const cores = Math.min(CORES_MAX, availableParallelism());
  const early = cores === 1 || copyEarly === null ? null : EarlyPart.begin(from, to, copyEarly);
  try {
    const weights = await weighTree(from, signal, oneFileSystem);
    onWeighed(weights);
    const isDivisible = cores > 1 && copyEarly !== null && weights !== null && weights.total >= SMALL;
    const of = (part: EarlyPart | null): Promise<DividedTree | null> =>
      isDivisible ? DividedTree.of(from, to, weights, cores, part) : Promise.resolve(null);
    const tree = await of(early);
    if (tree !== null || early === null) return division(tree, early);
    await early.giveUp();
    return division(await of(null), null);
  } catch (error) {
    await early?.end();
    throw error;
  }
}

function division(tree: DividedTree | null, early: EarlyPart | null): Division | null {
  if (tree === null) return null;
  return {
    tree,
    runs: (copyPart) => [
      ...(early === null ? [] : [(signal: AbortSignal) => early.goOn(signal)]),
      ...tree.parts.map((names) => (signal: AbortSignal) => copyPart(tree.hasShut)(names, signal)),
    ],
  };
}
