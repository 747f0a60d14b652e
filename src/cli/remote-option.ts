import type { Command } from "commander";
import { BerthError, UsageError } from "../errors.ts";
import { quote } from "../spec/quote.ts";
import { architectureNamed } from "../transfer/simplestreams.ts";

export function addArchOption(command: Command): Command {
  return command.option("--arch <ARCH>", "of another architecture than this host's: amd64, arm64, ...");
}

/** @throws UsageError */
export function archOf(given: string | undefined): string {
  const found = architectureNamed(given ?? process.arch);
  if (found !== undefined) return found;
  if (given === undefined)
    throw new BerthError(`no image server has images for ${process.arch}`, { hint: "--arch=ARCH" });
  throw new UsageError(
    `--arch=${quote(given)} is no architecture`,
    "amd64, arm64, armhf, i386, ppc64el, riscv64, s390x",
  );
}
