import type { Packages } from "./lock.ts";
import { COMMON_CAUSES, type PackageTool } from "./package-tool.ts";

/** apk(8) of Alpine's apk-tools, version 2.12 and later. Index and packages are checked against the keys of --keys-dir. */
export const apk: PackageTool = {
  programs: [{ name: "apk", debian: null }],

  plan({ repositories }, { packages, architecture, locked }) {
    const wanted =
      locked === null ? packages : Object.entries(locked).map(([name, { version }]) => `${name}=${version}`);
    const apk = (...words: readonly string[]): readonly string[] => [
      "apk",
      "--root=/tree",
      `--arch=${architecture}`,
      "--keys-dir=/tool/keys",
      "--repositories-file=/tool/repositories",
      "--cache-dir=/tool/cache",
      "--no-progress",
      ...words,
    ];
    const addresses = repositories.map(({ address }) => `${address}\n`).join("");
    return {
      files: { repositories: addresses },
      treeFiles: { "/etc/apk/repositories": addresses },
      commands: [
        { stage: "index", may: "fetch", argv: apk("--initdb", "add") },
        { stage: "index", may: "fetch", argv: apk("update") },
        { stage: "download", may: "fetch", argv: apk("cache", "download", ...wanted) },
        { stage: "install", may: "install", argv: apk("--no-network", "add", ...wanted) },
      ],
      inventory: apk("--no-network", "info", "--verbose"),
    };
  },

  steps: [/^\((?<done>\d+)\/(?<total>\d+)\) (?<item>(?:Downloading|Installing) \S+)/],
  complaint: /^ERROR: /,
  causes: [
    [
      /UNTRUSTED signature|BAD signature/,
      "an index or package is not signed with a key that the recipe names (keyring[])",
    ],
    [
      /no such package|unable to select packages|breaks: world/,
      "a package of the recipe, or of the lock file, is not (any more) in that release",
    ],
    ...COMMON_CAUSES,
  ],
  parsePackages: (lines) => parseJoined(lines, /^([A-Za-z0-9][\w.+-]*)-(\d[\w.]*-r\d+)$/),
};

/** Lines of `NAME-VERSION`. */
export function parseJoined(lines: readonly string[], pattern: RegExp): Packages {
  const found = lines.flatMap((line) => {
    const [, name, version] = pattern.exec(line) ?? [];
    return name === undefined || version === undefined ? [] : [[name, { version, digest: null }] as const];
  });
  return Object.fromEntries(found);
}
