import type { Command } from "commander";
import { diskNameOf } from "../../transfer/compression.ts";
import { definePullFile } from "../pull-file-verb.ts";
import type { Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  definePullFile(program, run, { kind: "raw", what: "a disk image", imageNameOf: diskNameOf });
}
