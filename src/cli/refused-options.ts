import { UsageError } from "../errors.ts";
import type { OptionDefinition } from "./option-set.ts";

const IMAGES = "comes with OCI bundles and stacks of layers that are no image of the store";
const VERITY = "comes with dm-verity; an image is mounted as it is";
const JOURNAL = "comes with journals of machines on the host";

/** systemd-nspawn's options that berth knows and refuses by name, and what each waits for. Never ignored. */
const REFUSED: readonly (readonly [flags: string, why: string])[] = [
  ["--image-policy <POLICY>", "comes with dm-verity and encryption of disk images, which it is about"],
  ["--oci-bundle <PATH>", IMAGES],
  ["--mstack <PATH>", IMAGES],
  ["--root-hash <HASH>", VERITY],
  ["--root-hash-sig <SIGNATURE>", VERITY],
  ["--verity-data <PATH>", VERITY],
  [
    "--template <PATH>",
    "comes with images and their clones; until then cp -a --reflink=auto makes a tree from another",
  ],
  // Of systemd 260: not in 257, which berth goes by.
  ["--private-users-delegate <COUNT>", "comes with ranges of ids for machines in machines"],
  ["--uid <USER>", "has become --user"],
  ["--forward-journal <PATH>", JOURNAL],
  ["--forward-journal-max-use <BYTES>", JOURNAL],
  ["--forward-journal-keep-free <BYTES>", JOURNAL],
  ["--forward-journal-max-file-size <BYTES>", JOURNAL],
  ["--forward-journal-max-files <COUNT>", JOURNAL],
];

/** Those that ask for what berth does anyway. */
const NO_DIFFERENCE: readonly (readonly [flags: string, help: string])[] = [
  ["--no-pager", "no difference: berth never starts a pager"],
  ["--no-ask-password", "no difference: berth asks for no passwords"],
  ["--system", "no difference: machines are the system's, not a user's"],
];

export const REFUSED_OPTIONS: readonly OptionDefinition[] = [
  ...REFUSED.map(([flags, why]) => ({
    flags,
    help: `not in effect yet: ${why}`,
    take: () => {
      const [long = ""] = /--[a-z-]+/.exec(flags) ?? [];
      throw new UsageError(`${long} is not in effect yet in this version of berth`, `it ${why}`);
    },
  })),
  ...NO_DIFFERENCE.map(([flags, help]) => ({ flags, help })),
];
