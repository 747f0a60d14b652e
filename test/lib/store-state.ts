/** All that a user has in a store, as data to compare: images whole, with settings, marks, limits, ranges and snapshots. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { openTree } from "../../src/host/open-tree.ts";
import type { Paths } from "../../src/host/paths.ts";
import { ledgerPath, readLedger } from "../../src/host/ranges.ts";
import { HOST_IMAGE } from "../../src/image/image.ts";
import { readOrigin } from "../../src/image/origin.ts";
import { listSnapshots, snapshotImage, snapshotNames } from "../../src/image/snapshots/snapshot.ts";
import { ImageStore } from "../../src/image/store.ts";
import { isEnabled } from "../../src/manager/enabled.ts";

export type StoreState = Readonly<Record<string, unknown>>;

export function storeState(paths: Paths): StoreState {
  const images = new ImageStore(paths).list().filter(({ name }) => name !== HOST_IMAGE);
  const { ranges } = readLedger(ledgerPath(paths.machines));
  return Object.fromEntries(
    images.map(({ name, path, readOnly, limit, type }) => [
      name,
      {
        digest: digestOf(path),
        readOnly,
        limit: type === "subvolume" ? limit : null,
        origin: readOrigin(paths, name),
        range: ranges.get(name) ?? null,
        settings: settingsOf(paths, name),
        enabled: isEnabled(name, paths),
        snapshots: snapshotsOf(paths, name),
      },
    ]),
  );
}

function snapshotsOf(paths: Paths, name: string): StoreState {
  const whole = listSnapshots(paths, name);
  return Object.fromEntries(
    snapshotNames(paths, name).map((each) => {
      const snapshot = whole.find((other) => other.name === each);
      if (snapshot === undefined) return [each, "damaged"];
      const { directory, comment, settings } = snapshot;
      const saved = settings.map(({ kind, copy }) => `${kind} ${textOf(join(directory, "settings", copy))}`);
      return [each, { digest: digestOf(snapshotImage(snapshot).path), comment, saved }];
    }),
  );
}

function settingsOf({ etc }: Paths, name: string): readonly string[] {
  const directory = join(etc, "machines");
  return readdirSync(directory)
    .filter((file) => file === `${name}.nspawn`)
    .map((file) => `${lstatSync(join(directory, file)).uid} ${textOf(join(directory, file))}`);
}

function textOf(path: string): string {
  return lstatSync(path).isDirectory() ? readdirSync(path).sort().join() : readFileSync(path, "utf8");
}

/** Contents, owners, modes, times, links and attributes. */
function digestOf(image: string): string {
  if (image.endsWith(".raw")) return createHash("sha256").update(readFileSync(image)).digest("hex");
  using opened = openTree(image);
  const attributes = ["--acls", "--xattrs", "--xattrs-include=*", "--xattrs-exclude=*.overlay.*"];
  // The root directory's own time changes on XFS when that is moved.
  const names = readdirSync(opened.path).sort();
  const { mode, uid, gid } = statSync(opened.path);
  const times = "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime";
  const archive = execFileSync("tar", ["-C", opened.path, ...attributes, "--sort=name", times, "-c", ...names], {
    maxBuffer: 2 ** 27,
    stdio: ["ignore", "pipe", "inherit"],
  });
  return createHash("sha256").update(archive).update(`${mode} ${uid} ${gid}`).digest("hex");
}
