import type { Command } from "commander";
import { imageNameOf } from "../../transfer/compression.ts";
import { definePullFile } from "../pull-file-verb.ts";
import type { Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  definePullFile(program, run, { kind: "tar", what: "a tar archive", imageNameOf: imageNameOf });
}
