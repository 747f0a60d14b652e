import { posix } from "node:path";
import type { Bind } from "../spec/machine-spec.ts";

/** Where what is missing is made by the kernel, a driver or a service that does not run: an empty directory is none of these. */
const MADE_BY_OTHERS = /^\/(dev|proc|run|sys)(\/|$)/;

/** How to make what is to be mounted of the host and is missing there. */
export function makeMissing(
  { source, fromRoot }: Pick<Bind, "source" | "fromRoot">,
  errno: string,
): string | undefined {
  const path = posix.normalize(source);
  return errno === "ENOENT" && !fromRoot && !MADE_BY_OTHERS.test(path) ? `mkdir -p ${path}` : undefined;
}
