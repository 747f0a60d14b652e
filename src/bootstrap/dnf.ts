import { COMMON_CAUSES, keyPath, type PackageTool } from "./package-tool.ts";
import type { RepositorySettings } from "./recipe.ts";
import { nevras, parseRpmPackages, rpmInventory, rpmMacros } from "./rpm.ts";

/** dnf(8), version 4 or 5. */
export const dnf: PackageTool = {
  programs: [
    { name: "dnf", debian: "dnf" },
    { name: "rpm", debian: "rpm" },
  ],

  plan(settings, { version, packages, architecture, locked }) {
    const wanted = locked === null ? packages : nevras(locked);
    const options = [
      "--config=/tool/dnf.conf",
      "--installroot=/tree",
      `--releasever=${version}`,
      `--forcearch=${architecture}`,
      "--assumeyes",
    ];
    return {
      files: { "dnf.conf": configuration(settings), "home/.rpmmacros": rpmMacros(settings) },
      commands: [
        { stage: "download", may: "fetch", argv: ["dnf", ...options, "install", "--downloadonly", ...wanted] },
        { stage: "install", may: "install", argv: ["dnf", ...options, "--cacheonly", "install", ...wanted] },
      ],
      inventory: rpmInventory(settings),
    };
  },

  steps: [
    /^\((?<done>\d+)\/(?<total>\d+)\): (?<item>\S+)/,
    /^ +(?<item>(?:Installing|Running scriptlet) *: \S+).* (?<done>\d+)\/(?<total>\d+) *$/,
  ],
  complaint: /^(?:Error|error|Failed|No match)\b/,
  causes: [
    [
      /GPG check FAILED|is not signed|Public key .* is not installed|Couldn't open file .*keys/i,
      "a package is not signed with a key that the recipe names (keyring[])",
    ],
    [
      /Unable to find a match|No match for argument/,
      "a package of the recipe, or of the lock file, is not (any more) in that release",
    ],
    ...COMMON_CAUSES,
  ],
  parsePackages: parseRpmPackages,
};

function configuration({ repositories, keyrings }: RepositorySettings): string {
  const main = {
    gpgcheck: 1,
    localpkg_gpgcheck: 1,
    plugins: 0,
    install_weak_deps: 0,
    best: 1,
    keepcache: 1,
    // None of the host's, and none that a package brings.
    reposdir: "/tool/none",
    varsdir: "/tool/none",
    cachedir: "/tool/cache",
    persistdir: "/tool/state",
    logdir: "/tool/log",
    // What was fetched a moment ago is good.
    metadata_expire: "never",
  };
  const keys = keyrings.map((keyring) => `file://${keyPath(keyring)}`).join(" ");
  const sections = repositories.map(({ name, address }) => section(name, { name, baseurl: address, gpgkey: keys }));
  return [section("main", main), ...sections].join("\n");
}

function section(name: string, values: Readonly<Record<string, string | number>>): string {
  return [`[${name}]`, ...Object.entries(values).map(([key, value]) => `${key}=${value}`), ""].join("\n");
}
