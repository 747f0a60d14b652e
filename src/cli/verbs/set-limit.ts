import type { Command } from "commander";
import { UsageError } from "../../errors.ts";
import { ImageStore } from "../../image/store.ts";
import { parseBytes } from "../sizes.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("set-limit")
    .summary("limit what an image may take on the disk")
    .description(
      "Limits image NAME, or without one the whole store, to BYTES on the disk. Only subvolumes of btrfs can be limited, with " +
        "quotas switched on, and a store whose directory is one; of anything else it is said. Of a store the trees in subvolumes count, " +
        "with their snapshots, and what they share once; disk images, and subvolumes that a machine makes in its tree, do not.",
    )
    .usage("[NAME] BYTES")
    .argument("<words...>", "the image, and its limit: 10G, 512M; - for none")
    .action(run(setLimit));
}

async function setLimit({ paths }: Context, words: string[]): Promise<number> {
  const store = new ImageStore(paths);
  const [first = "", second, ...more] = words;
  if (more.length > 0) throw new UsageError("set-limit takes an image and a limit", "berth set-limit web 10G");
  if (second === undefined) await store.setPoolLimit(parseBytes(first));
  else await store.setLimit(first, parseBytes(second));
  return 0;
}
