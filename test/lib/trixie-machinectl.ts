/**
 * machinectl of Debian 13 (systemd 257), unmodified, from its packages: unpacked once into test/.cache, none of their scripts run.
 *
 *   describe.each(MACHINECTLS)("machinectl of %s", (_, program) => {
 *     const machinectl = machinectlOn(root, await program());
 *
 * Needs root, mmdebstrap and, the first time, the network and some 10 s.
 */
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { findHostArchives } from "../../src/bootstrap/host-apt.ts";

const TREE = fileURLToPath(new URL(`../.cache/trixie-machinectl-${process.arch}`, import.meta.url));
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
/** What it is told of and asked for lies at the same paths as outside. */
const SCRIPT = `
tree=$1; shift
for each in /tmp /proc /dev /run; do mount --rbind "$each" "$tree$each"; done
exec chroot "$tree" machinectl "$@"
`;

/** What runs each, for describe.each. */
export const MACHINECTLS = [
  ["Debian 12", async () => ["machinectl"]],
  ["Debian 13", trixieMachinectl],
] as const;

/** What runs it, in a mount namespace that is its own. */
async function trixieMachinectl(): Promise<readonly string[]> {
  return ["sh", "-ec", SCRIPT, "sh", await trixieTree()];
}

/** Of systemd-container and what it needs. */
export async function trixieTree(): Promise<string> {
  if (!existsSync(TREE)) await unpack();
  return TREE;
}

async function unpack(): Promise<void> {
  mkdirSync(dirname(TREE), { recursive: true });
  // Other test files do the same meanwhile, in pid namespaces of their own.
  const unfinished = `${TREE}.${randomUUID()}`;
  const { debian } = await findHostArchives();
  const packages = ["--variant=extract", "--include=base-files,coreutils,systemd-container"];
  // Without sources mmdebstrap takes Debian's own.
  const source = debian === undefined ? [] : [`deb ${debian} trixie main`];
  try {
    await promisify(execFile)("mmdebstrap", [...packages, `--keyring=${KEYRING}`, "trixie", unfinished, ...source]);
    for (const each of ["tmp", "proc", "dev", "run"]) mkdirSync(join(unfinished, each), { recursive: true });
    try {
      renameSync(unfinished, TREE);
    } catch (error) {
      if (!existsSync(TREE)) throw error;
    }
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
}
