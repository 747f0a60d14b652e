/** All that is done with images, one after the other, with the power cut in the midst of each: for power-cut tests. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { findPaths, type Paths } from "../../src/host/paths.ts";
import { treeOf } from "../../src/host/tree-place.ts";
import { ImageStore } from "../../src/image/store.ts";
import { type BerthRoot, berthRoot } from "./berth.ts";
import { type Cut, type CutFileSystem, type CutOptions, makeCutDisk } from "./cut-disk.ts";
import { ociImage, pagesOf } from "./oci.ts";
import { richTree } from "./rich-tree.ts";
import { site } from "./site.ts";
import { type StoreState, storeState } from "./store-state.ts";
import { file, OS, tar } from "./tar.ts";

interface Operation {
  /** Of berth. */
  readonly words: readonly string[];
  /** What happened before it and has not come to the disk: nothing is known then of a cut before its end. */
  readonly before?: () => void;
  /** It is several operations: of one image after the other, or of what is kept of it. */
  readonly inSteps?: boolean;
}

interface Done {
  readonly what: string;
  readonly cuts: readonly Cut[];
  readonly from: StoreState | null;
  readonly to: StoreState;
  readonly inSteps: boolean;
}

/** Returns how many cuts were looked at, and what was wrong after which. */
export async function cutAll(
  type: CutFileSystem,
  options: CutOptions,
): Promise<{ readonly looks: number; readonly faults: readonly string[] }> {
  await using root = berthRoot();
  using disk = makeCutDisk(type, join(root.path, "disk"));
  for (const part of ["machines", "etc"]) mkdirSync(join(disk.path, part));
  mkdirSync(join(disk.path, "etc/machines"));
  Object.assign(root.env, { BERTH_MACHINES: join(disk.path, "machines"), BERTH_ETC: join(disk.path, "etc") });
  const paths = findPaths(root.env, "/nowhere", undefined);
  await using server = await site(pagesOf("app", { latest: APP, next: NEXT }));
  const done: Done[] = [];
  for (const { words, before, inSteps = false } of operations(root, paths, type, new URL(server.url).host)) {
    disk.sync();
    const from = before === undefined ? storeState(paths) : null;
    before?.();
    const { cuts, result } = await disk.cutDuring(() => root.berth(...words), options);
    expect(result.status, `${words.join(" ")}: ${result.stderr}`).toBe(0);
    done.push({ what: words.join(" "), cuts, from, to: storeState(paths), inSteps });
  }
  await root.berth("daemon", "stop");
  disk.unplug();
  const faults: string[] = [];
  let looks = 0;
  for (const each of done)
    for (const cut of each.cuts) {
      looks++;
      const fault = await disk.with(cut, () => faultOf(paths, each, cut)).catch(String);
      if (fault !== undefined) faults.push(`${each.what}, cut ${momentOf(cut)}: ${fault}`);
    }
  return { looks, faults };
}

function momentOf({ after }: Cut): string {
  return after === null ? "at its end" : `after ${after.toFixed(1)} ms`;
}

async function faultOf(paths: Paths, { from, to, inSteps }: Done, cut: Cut): Promise<string | undefined> {
  // What a daemon does that starts.
  await new ImageStore(paths).sweep();
  const left = readdirSync(paths.machines).filter((name) => /^\.berth-(making|moving|layer-)/.test(name));
  if (left.length > 0) return `left: ${left.join(", ")}`;
  const now = storeState(paths);
  if (inSteps && cut.after !== null) return undefined;
  const allowed = [to, ...(from === null || cut.after === null ? [] : [from])];
  if (cut.after !== null && from === null) return undefined;
  if (allowed.some((state) => JSON.stringify(state) === JSON.stringify(now))) return undefined;
  return allowed.map((state) => differences(state, now)).join(" | ");
}

function differences(wanted: StoreState, now: StoreState): string {
  const names = [...new Set([...Object.keys(wanted), ...Object.keys(now)])];
  return names
    .filter((name) => JSON.stringify(wanted[name]) !== JSON.stringify(now[name]))
    .map((name) => `${name} is ${JSON.stringify(now[name])}, not ${JSON.stringify(wanted[name])}`)
    .join("; ");
}

const APP = ociImage([tar([...OS, file("./a", "a".repeat(100_000))]), tar([file("./b", "b")])], { Cmd: ["/b"] });
/** Begins as the other one does. */
const NEXT = ociImage([tar([...OS, file("./a", "a".repeat(100_000))]), tar([file("./c", "c".repeat(100_000))])]);

function operations(root: BerthRoot, paths: Paths, type: CutFileSystem, registry: string): readonly Operation[] {
  const tree = richTree(join(root.path, "rich"));
  rmSync(join(tree, "var/lib/sparse"));
  const [archive, disk] = [join(root.path, "rich.tar"), join(root.path, "disk.img")];
  execFileSync("tar", ["-C", tree, "--acls", "--xattrs", "--xattrs-include=*", "-cf", archive, "."]);
  writeFileSync(disk, Buffer.alloc(300_000, "disk"));
  const write = (name: string, text: string) => (): void => {
    const at = treeOf(paths.machines, name);
    const into = at.endsWith(".mstack") ? join(at, "rw/data") : at;
    if (at.endsWith(".raw")) writeFileSync(at, text);
    else for (const each of ["one", "two"]) writeFileSync(join(into, each), text);
  };
  const settings = (name: string, text: string) => (): void =>
    writeFileSync(join(paths.etc, "machines", `${name}.nspawn`), `[Exec]\nHostname=${text}\n`);
  const all =
    (...acts: readonly (() => void)[]) =>
    () => {
      for (const act of acts) act();
    };
  const words = (text: string, before?: () => void): Operation => ({
    words: text.split(" "),
    ...(before === undefined ? {} : { before }),
  });
  return [
    words(`import-tar ${archive} web`),
    words("clone web copy", settings("web", "first")),
    words("clone copy third"),
    words("remove third"),
    words("snapshot web snap0 --comment before"),
    words("snapshot web snap1", all(write("web", "written before the snapshot"), settings("web", "second"))),
    words("rollback web snap0"),
    { ...words("rollback web --undo"), inSteps: true },
    words("rollback web snap0"),
    { ...words("rollback web --confirm"), inSteps: true },
    words("rename copy other"),
    words("rename web site"),
    words("clone site again", write("site", "written before the clone")),
    words("clone again flat --driver=directory"),
    words("enable flat"),
    words("disable flat"),
    words("remove flat"),
    ...(type === "btrfs" ? [words("set-limit again 100M", () => quotas(paths)), words("set-limit again -")] : []),
    words("read-only other yes"),
    words("rename other marked"),
    words("read-only marked no"),
    words("read-only marked yes"),
    words("remove marked"),
    words("remove site@snap1"),
    words("remove site --snapshots"),
    words(`import-fs ${tree} fs`),
    words(`import-tar --force ${archive} fs`, write("fs", "another")),
    words(`import-raw ${disk} disk`),
    words("clone disk disk2"),
    words("read-only disk2 yes"),
    words("snapshot disk snap", write("disk", "written to the disk")),
    words("rollback disk", write("disk", "and again")),
    words("remove disk2"),
    words(`pull-oci ${registry}/app app`),
    words(`pull-oci ${registry}/app:next next`),
    words("clone next last"),
    words("remove disk --snapshots"),
    words("remove next"),
    { ...words("clean --all"), inSteps: true },
  ].map((each) => ({ ...each, words: each.words.filter(Boolean) }));
}

function quotas({ machines }: Paths): void {
  execFileSync("btrfs", ["quota", "enable", machines], { stdio: "ignore" });
  execFileSync("btrfs", ["quota", "rescan", "-w", machines], { stdio: "ignore" });
}
