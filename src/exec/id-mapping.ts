import { openSync, writeFileSync } from "node:fs";
import { BerthError } from "../errors.ts";
import type { IdMapLine, IdMapping } from "../plan/step.ts";
import { CLONE_NEWUSER } from "../sys/constants.ts";
import { SysError } from "../sys/errno.ts";
import { closeQuietly } from "../sys/files.ts";
import { Assembler, type Image, Program } from "./assembler.ts";
import { writeImage } from "./image-file.ts";
import { asSysError } from "./launch-error.ts";
import { HEADER_WORDS, KEPT_FDS, STATUS_FD, SYNC } from "./stage-abi.ts";
import { StageProcess } from "./stage-process.ts";

const IN_NAMESPACE = 1;

/**
 * A user namespace with maps of its own, for mounts only: mount_setattr(2) takes maps in no other form. A stage that
 * does nothing else enters it, the host writes the maps, and the fd that is returned keeps it when that stage has ended.
 * @throws SysError naming the map that the kernel refused
 */
export async function mappingNamespace(path: string, arch: "x64" | "arm64", mapping: IdMapping): Promise<number> {
  const stage = StageProcess.spawn(path);
  try {
    handOver(stage, arch);
    const message = await stage.socket.hearSync(IN_NAMESPACE);
    if (message === null) throw new BerthError("the process that was to hold a map of ids was killed");
    if (message.who < SYNC) throw new SysError("unshare", -message.result);
    // Our child and not reaped yet, so the pid is its own.
    writeMap(`/proc/${stage.pid}/gid_map`, mapping.gids);
    writeMap(`/proc/${stage.pid}/uid_map`, mapping.uids);
    return openSync(`/proc/${stage.pid}/ns/user`, "r");
  } finally {
    await stage.discard();
  }
}

function handOver(stage: StageProcess, arch: "x64" | "arm64"): void {
  const image = writeImage(namespaceImage(arch));
  try {
    stage.handOver("berth-idmap", [image]);
  } finally {
    closeQuietly(image);
  }
}

/** What is on disk is the map's inside, what the kernel makes of it the outside (Documentation/filesystems/idmappings.rst). */
function writeMap(path: string, lines: readonly IdMapLine[]): void {
  try {
    writeFileSync(path, lines.map(({ disk, host, count }) => `${disk} ${host} ${count}\n`).join(""));
  } catch (error) {
    throw asSysError("write", error, path);
  }
}

/** Enters the namespace, says so, and waits for the host to hang up. */
function namespaceImage(arch: "x64" | "arm64"): Image {
  const asm = new Assembler(arch, HEADER_WORDS * 8);
  const program = new Program(0);
  const nothing = new Program(3, true);
  const none = asm.register();
  asm.call(program, "unshare", [CLONE_NEWUSER]);
  asm.call(program, "write", [STATUS_FD, asm.words([SYNC + IN_NAMESPACE, 0, 0]), 24]);
  asm.call(program, "read", [STATUS_FD, asm.reserve(8), 8], { lenient: true });
  asm.call(program, "exit_group", [0]);
  return asm.finish({
    ...{ keeper: program, init: nothing, commit: nothing, undo: nothing, end: nothing },
    ...{ foreground: true, alarm: -1, given: KEPT_FDS.map(() => -1), free: -1, whole: -1, carried: 0 },
    numbers: Array.from({ length: 6 }, () => none.register),
    logLimit: 0,
  });
}
