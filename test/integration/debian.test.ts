import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { BerthRoot, buildBerth, poll } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { manifest } from "../lib/manifest.ts";
import { needs } from "../lib/requires.ts";
import { debianTree } from "../lib/trees.ts";

const ready = needs("root", "userns", "cgroup2", "tool:mmdebstrap");
checkLeaks();

/** Boots of whole systems on a shared host. */
const PATIENCE = 240_000;

beforeAll(async () => {
  if (!ready) return;
  buildBerth();
  for (const release of ["bookworm", "trixie"] as const) await debianTree(release);
}, 15 * 60_000);

describe.each(["bookworm", "trixie"] as const)("Debian %s", (release) => {
  test(
    "boots to running, is entered, reboots from inside, powers off from outside, and leaves its tree clean",
    async () => {
      await using root = new BerthRoot();
      // A machine in the background outlives a test that fails.
      await using _ = { [Symbol.asyncDispose]: async () => void (await root.berth("terminate", "deb")) };
      const tree = join(root.machines, "deb");
      execFileSync("cp", ["-a", "--reflink=auto", await debianTree(release), tree]);
      const topBefore = manifest(tree);

      expect(await root.berth("start", "deb")).toMatchObject({ status: 0 });
      const booted = root.record("deb");
      expect(booted).toMatchObject({ ready: true, state: "running", os: "debian", weaknesses: [] });

      expect(await inside(root, "systemctl", "is-system-running")).toBe("running");
      expect(await inside(root, "systemctl", "--failed", "--plain", "--no-legend")).toBe("");
      expect(await inside(root, "systemd-detect-virt", "--container")).not.toBe("none");
      expect(await inside(root, "hostname")).toBe("deb");
      expect(await inside(root, "cat", "/proc/1/uid_map")).toMatch(/^\s*0\s+\d{6,}\s+65536$/);
      // Services with namespaces and users of their own, as systemd makes them, work in the locked mounts.
      const unit = ["systemd-run", "--wait", "--pipe", "--quiet", "-p", "PrivateTmp=yes", "-p", "DynamicUser=yes"];
      const hardened = [
        ...unit,
        "-p",
        "ProtectSystem=strict",
        "-p",
        "ProtectProc=invisible",
        "-p",
        "PrivateDevices=yes",
      ];
      expect(await inside(root, ...hardened, "id", "-u")).toMatch(/^6\d{4}$/);
      expect(await inside(root, "su", "nobody", "-s", "/bin/sh", "-c", "id -un")).toBe("nobody");

      await inside(root, "systemctl", "reboot");
      const again = await poll("the second boot", () => {
        const now = root.record("deb");
        return now?.ready === true && now.leader.startTime !== booted?.leader.startTime ? now : undefined;
      });
      expect(again.supervisor).toEqual(booted?.supervisor);
      expect(await inside(root, "systemctl", "is-system-running", "--wait")).toBe("running");

      expect(await root.berth("poweroff", "deb")).toMatchObject({ status: 0 });
      expect(root.leftovers()).toEqual([]);
      // What systemd wrote while it ran stays; mount points and files of ours do not.
      const made = changes(topBefore, manifest(tree)).filter((path) => !/^(etc|var|root|archive)\b/.test(path));
      expect(made).toEqual([]);
    },
    PATIENCE,
  );

  test(
    "an ephemeral boot powers itself off with status 0 and leaves the tree as it was",
    async () => {
      await using root = new BerthRoot();
      const tree = await debianTree(release);
      const before = manifest(tree);
      await using child = root.start(
        "run",
        "-D",
        tree,
        "-M",
        "deb",
        "-x",
        "-b",
        "--notify-ready=yes",
        "--console=read-only",
      );
      await root.recordWhen("deb", ({ ready: isReady }) => isReady);
      expect(await inside(root, "systemctl", "is-system-running", "--wait")).toBe("running");
      await inside(root, "touch", "/etc/changed", "/srv/changed");
      await inside(root, "systemctl", "poweroff");
      expect(await child.end).toMatchObject({ status: 0 });
      expect(child.stdout).toMatch(/Welcome to .*Debian/);
      expect(changes(before, manifest(tree))).toEqual([]);
    },
    PATIENCE,
  );
});

test(
  "SIGTERM to a booted machine's berth run shuts its systemd down in order",
  async () => {
    await using root = new BerthRoot();
    const tree = await debianTree("bookworm");
    const options = ["-D", tree, "-M", "deb", "-x", "-b", "--notify-ready=yes", "--console=read-only"];
    await using child = root.start("run", ...options);
    await root.recordWhen("deb", ({ ready: isReady }) => isReady);
    child.kill("SIGTERM");
    expect(await child.end).toMatchObject({ status: 0 });
    expect(child.stdout).toMatch(/Reached target .*[Ss]hutdown/);
    expect(child.stdout).not.toMatch(/FAILED/);
  },
  PATIENCE,
);

async function inside(root: BerthRoot, ...command: readonly string[]): Promise<string> {
  const { stdout } = await root.berth("exec", "deb", "--", ...command);
  return stdout.trim();
}

/** Paths that differ between two manifests. */
function changes(before: readonly string[], after: readonly string[]): string[] {
  const [old, now] = [new Set(before), new Set(after)];
  const differing = [...before.filter((line) => !now.has(line)), ...after.filter((line) => !old.has(line))];
  return [...new Set(differing.map((line) => line.split(" ")[0] ?? line))];
}
