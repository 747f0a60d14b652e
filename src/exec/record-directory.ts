import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { BerthError, errorCode } from "../errors.ts";

/** Its own, and new: in one that is there another machine lives, or what is left of one. */
export function makeRecordDirectory(directory: string, machine: string): void {
  try {
    mkdirSync(directory, 0o700);
  } catch (error) {
    if (errorCode(error) === "EEXIST")
      throw isRunning(machine, `or what is left of it could not be cleaned up: ${directory}`);
    if (errorCode(error) !== "ENOENT") throw error;
    mkdirSync(dirname(directory), { recursive: true, mode: 0o700 });
    makeRecordDirectory(directory, machine);
  }
}

export function isRunning(machine: string, more: string): BerthError {
  return new BerthError(`machine ${machine} is running already, ${more}`, {
    hint: "berth list shows what runs; a start says what it could not clean up, and why",
  });
}
