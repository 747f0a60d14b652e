import { closeSync, constants, openSync, readlinkSync } from "node:fs";
import { BerthError, errorCode } from "../errors.ts";
import { CLONE_NEWNET } from "../sys/constants.ts";
import { namespaceType } from "../sys/namespaces.ts";

/**
 * A network namespace by its file: /run/netns/NAME of `ip netns add`, /proc/PID/ns/net.
 * @throws BerthError when `path` is something else
 */
export function openNetwork(path: string): number {
  const fd = open(path);
  try {
    if (namespaceType(fd) === CLONE_NEWNET) return fd;
    const is = readlinkSync(`/proc/self/fd/${fd}`);
    throw new BerthError(`${path} is no network namespace${is === path ? "" : ` but ${is}`}`, {
      hint: "ip netns add NAME makes one, which is /run/netns/NAME; that of a process is /proc/PID/ns/net",
    });
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function open(path: string): number {
  try {
    // Nothing waits for it, should it be a fifo.
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    const name = /^\/(?:var\/)?run\/netns\/([^/]+)$/.exec(path)?.[1];
    const hint = errorCode(error) === "ENOENT" && name !== undefined ? { hint: `ip netns add ${name}` } : {};
    throw new BerthError(`the network namespace ${path} can't be opened: ${errorCode(error)}`, hint);
  }
}
