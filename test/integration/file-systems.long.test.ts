/** Debian boots from each kind of file system, its tree kept or changed in a way that a host might choose for it. */
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { BerthRoot, buildBerth } from "../lib/berth.ts";
import { type FileSystem, mountFileSystem, toolsOf } from "../lib/file-systems.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs, needsHere } from "../lib/requires.ts";
import { debianTree } from "../lib/trees.ts";

const ready = needs("root", "userns", "cgroup2", "tool:mmdebstrap", "kernel:6.6");
checkLeaks();

/** Boots of whole systems on a shared host. */
const PATIENCE = 240_000;

beforeAll(async () => {
  if (!ready) return;
  buildBerth();
  await debianTree("trixie");
}, 15 * 60_000);

const BOOTS: readonly (readonly [type: FileSystem, option: string])[] = [
  ["ext4", "--private-users-ownership=map"],
  ["btrfs", "--ephemeral"],
  ["xfs", "--private-users=no"],
  ["tmpfs", "--read-only"],
  ["overlay", "--private-users-ownership=chown"],
  ["squashfs", "--volatile=overlay"],
  ["squashfs", "--volatile=state"],
  ["erofs", "--volatile=yes"],
];

describe.each(BOOTS)("Debian on %s, with %s", (type, option) => {
  test(
    "boots to running and powers itself off",
    async (ctx) => {
      needsHere(ctx, ...toolsOf(type));
      await using root = new BerthRoot();
      const from = await debianTree("trixie");
      using mounted = await mountFileSystem(type, join(root.path, "disk"), async (directory) => {
        execFileSync("cp", ["-a", from, join(directory, "deb")]);
        // systemd-logind's StateDirectory=, which the first boot makes: on a tree that is read-only from the start it fails.
        if (option === "--read-only") mkdirSync(join(directory, "deb/var/lib/systemd/linger"));
      });
      const options = ["-M", "deb", "-q", "-b", "--notify-ready=yes", "--console=read-only", option];
      // Or it waits for answers at the console: with Volatile=yes each boot is the first one.
      const words = ["run", "-D", join(mounted.path, "deb"), ...options, "systemd.firstboot=off"];
      await using child = root.start(...words);
      await root.recordWhen("deb", ({ ready: isReady }) => isReady);
      const inside = async (...command: string[]): Promise<string> =>
        (await root.berth("exec", "deb", "--", ...command)).stdout.trim();
      const state = await inside("systemctl", "is-system-running", "--wait");
      expect(`${state} ${await inside("systemctl", "--failed", "--plain", "--no-legend")}`).toBe("running ");
      if (option.startsWith("--volatile=") && option !== "--volatile=state") {
        // An overlay marks the new directory, and what was in the tree's one stays away.
        const script = "rm -rf /etc/systemd && mkdir /etc/systemd && ls -A /etc/systemd && echo empty";
        expect(await inside("sh", "-c", script)).toBe("empty");
      }
      await inside("systemctl", "poweroff");
      expect(await child.end).toMatchObject({ status: 0 });
      expect(root.leftovers()).toEqual([]);
    },
    PATIENCE,
  );
});
