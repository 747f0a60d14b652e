/** Disk images on Debian 12's own kernel (6.1), which has FAT, and udev: what this host's may not have, and what newer ones do by themselves. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { DISK_TOOLS, makeDisk, makeFileSystem } from "../lib/disk-images.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";
import { vm } from "../lib/vm.ts";

needs("cc", "tool:mkfs.vfat", "tool:mkfs.erofs", ...DISK_TOOLS);
checkLeaks();
/** A guest under software emulation: minutes on a busy host. */
const PATIENCE = 30 * 60_000;
const MIB = 1 << 20;

const SCRIPT = `
set -u
for options in "" --private-users=no -x --read-only; do
  echo "== $options"
  berth run -q --pipe -i /job/web.raw $options -- /probe mounts -- write /home/x y -- write /efi/x y
done 2>&1
for options in "" -x; do
  echo "== erofs $options"
  berth run -q --pipe -i /job/fixed.raw $options -- /probe mounts
done 2>&1
cp /job/web.raw /var/lib/machines/web.raw
echo "== pack"
berth export-tar web | tar -t
echo "== left"
losetup -a
grep /dev/loop /proc/self/mountinfo
true
`;

test(
  "partitions, an EFI system partition among them, have mapped ids, overlays, or are read-only; nothing is left",
  async () => {
    const job = mkdtempSync(join(tmpdir(), "job-"));
    try {
      const tree = await probeTree({ at: join(job, "tree") });
      for (const directory of ["home", "efi"]) mkdirSync(join(tree, directory));
      makeDisk(join(job, "web.raw"), {
        parts: [
          { type: "esp", size: 16 * MIB, fs: "vfat", from: tree },
          { type: "root", size: 16 * MIB, fs: "ext4", from: tree },
          { type: "home", size: 8 * MIB, fs: "ext4", from: join(tree, "home") },
        ],
      });
      makeFileSystem("erofs", join(job, "fixed.raw"), { from: tree, size: 0 });
      rmSync(tree, { recursive: true });
      const { status, output } = await vm.run(SCRIPT, { directory: job, timeoutSeconds: 1200 });
      expect(status, output).toBe(0);
      const parts = new Map(output.split(/^== /m).map((part) => [part.split("\n")[0]?.trim() ?? "", part]));
      const of = (part: string): string => parts.get(part) ?? "";
      const mountOn = (part: string, point: string): string | undefined =>
        of(part)
          .split("\n")
          .find((line) => line.split(" ")[4] === point);
      const writes = (part: string): number => of(part).match(/"verb":"write","ok":true/g)?.length ?? 0;
      expect(mountOn("", "/"), output).toMatch(/idmapped .* - ext4 /);
      expect(mountOn("", "/efi")).toMatch(/ rw,nodev,.*idmapped .* - vfat /);
      expect(writes("")).toBe(2);
      expect(mountOn("--private-users=no", "/efi")).toMatch(/ rw,nodev,.* - vfat /);
      expect(writes("--private-users=no")).toBe(2);
      expect(mountOn("-x", "/home")).toContain(" - overlay ");
      expect(mountOn("-x", "/efi")).toMatch(/ ro,nodev,.* - vfat /);
      expect(writes("-x")).toBe(1);
      expect(mountOn("--read-only", "/home")).toMatch(/ ro,nodev,.* - ext4 /);
      expect(writes("--read-only")).toBe(0);
      expect(mountOn("erofs", "/")).toMatch(/ ro,nodev,.*idmapped .* - erofs /);
      expect(mountOn("erofs -x", "/")).toContain(" - overlay ");
      expect(of("pack")).toContain("./efi/x\n");
      expect(of("left").trim()).toBe("left");
    } finally {
      rmSync(job, { recursive: true, force: true });
    }
  },
  PATIENCE,
);
