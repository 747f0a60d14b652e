import { execFileSync } from "node:child_process";
import { chownSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** yescrypt's of "berth"; what else it looks like does not matter. */
export const HASH = "$y$j9T$0123456789abcdefghijkl$0123456789abcdefghijklmnopqrstuvwxyzABCDEF";

export interface HostUser extends Disposable {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

/** A user of the host, until it is disposed of, with a home that the caller has made and removes. */
export function hostUser(home: string, name: string, group: "own" | "shared" = "own"): HostUser {
  const words = ["--home-dir", home, "--no-create-home", "--shell", "/bin/zsh", "--password", HASH];
  execFileSync("useradd", [...words, ...(group === "own" ? ["--user-group"] : ["-N", "-g", "100"]), name], {
    stdio: "pipe",
  });
  const dispose = (): void => void execFileSync("userdel", [name], { stdio: "pipe" });
  try {
    const [, , uid, gid] = execFileSync("getent", ["passwd", name], { encoding: "utf8" }).split(":").map(Number);
    if (uid === undefined || gid === undefined) throw new Error(`no ids of ${name}`);
    chownSync(home, uid, gid);
    writeFileSync(join(home, "mine"), "from outside\n");
    chownSync(join(home, "mine"), uid, gid);
    return { name, uid, gid, home, [Symbol.dispose]: dispose };
  } catch (error) {
    dispose();
    throw error;
  }
}
