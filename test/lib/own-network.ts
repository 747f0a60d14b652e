import { execFileSync } from "node:child_process";
import { CLONE_NEWNET } from "../../src/sys/constants.ts";
import { bind, check } from "../../src/sys/libc.ts";

/** For a file that makes links: the network alone is the other files' too (own-namespaces), whose checks would see them come and go. */
export function enterOwnNetwork(): void {
  check(bind("int unshare(int flags)")(CLONE_NEWNET), "unshare");
  execFileSync("ip", ["link", "set", "lo", "up"]);
}
