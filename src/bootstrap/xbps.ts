import { parseJoined } from "./apk.ts";
import { COMMON_CAUSES, type PackageTool } from "./package-tool.ts";

/** xbps-install(1) of Void. It knows the keys that are in the tree, and would ask of any other. */
export const xbps: PackageTool = {
  programs: [
    { name: "xbps-install", debian: null },
    { name: "xbps-query", debian: null },
  ],

  plan({ repositories }, { packages, architecture, locked }) {
    const wanted =
      locked === null ? packages : Object.entries(locked).map(([name, { version }]) => `${name}-${version}`);
    const install = (...words: readonly string[]): readonly string[] => [
      "env",
      `XBPS_ARCH=${architecture}`,
      "xbps-install",
      "--rootdir=/tree",
      "--config=/tool/none",
      "--cachedir=/tool/cache",
      ...repositories.map(({ address }) => `--repository=${address}`),
      "--yes",
      ...words,
    ];
    return {
      files: {},
      commands: [
        { stage: "index", may: "fetch", argv: ["mkdir", "-p", "/tree/var/db/xbps"] },
        { stage: "index", may: "fetch", argv: ["cp", "-r", "/tool/keys", "/tree/var/db/xbps/keys"] },
        { stage: "download", may: "fetch", argv: install("--sync", "--download-only", ...wanted) },
        { stage: "install", may: "install", argv: install(...wanted) },
      ],
      inventory: ["env", `XBPS_ARCH=${architecture}`, "xbps-query", "--rootdir=/tree", "--list-pkgs"],
    };
  },

  steps: [/^(?<item>\S+-\S+_\d+: (?:unpacking|configuring|downloading))/],
  complaint: /^(?:ERROR|Failed|Package '|.* not found in repository)/,
  causes: [
    [
      /RSA signature|public key|not imported/i,
      "a repository or package is not signed with a key that the recipe names (keyring[])",
    ],
    [
      /not found in repository pool/,
      "a package of the recipe, or of the lock file, is not (any more) in the repositories",
    ],
    ...COMMON_CAUSES,
  ],
  parsePackages: (lines) =>
    parseJoined(
      lines.flatMap((line) => /^ii (\S+)/.exec(line)?.[1] ?? []),
      /^(.+)-([^-]+_\d+)$/,
    ),
};
