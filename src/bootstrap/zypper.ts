import type { Packages } from "./lock.ts";
import { COMMON_CAUSES, keyPath, type PackageTool } from "./package-tool.ts";
import { parseRpmPackages, rpmInventory, rpmMacros } from "./rpm.ts";

/** zypper(8). It takes keys from the tree's rpm database only, and asks of any other: so they are put there first. */
export const zypper: PackageTool = {
  programs: [
    { name: "zypper", debian: "zypper" },
    { name: "rpm", debian: "rpm" },
  ],

  plan(settings, { version, packages, architecture, locked }) {
    const wanted = locked === null ? packages : exactly(locked);
    const zypper = (...words: readonly string[]): readonly string[] => [
      "env",
      "ZYPP_CONF=/tool/zypp.conf",
      "zypper",
      "--root=/tree",
      "--reposd-dir=/tool/repositories",
      "--cache-dir=/tool/cache",
      `--releasever=${version}`,
      "--non-interactive",
      ...words,
    ];
    const install = ["install", "--no-recommends", "--auto-agree-with-licenses", "--details"];
    const keys = settings.keyrings.map(keyPath);
    return {
      files: {
        "zypp.conf": configuration(architecture),
        "home/.rpmmacros": rpmMacros(settings),
        ...Object.fromEntries(
          settings.repositories.map(({ name, address }) => [`repositories/${name}.repo`, repository(name, address)]),
        ),
      },
      commands: [
        ...(keys.length > 0
          ? [{ stage: "index", may: "install", argv: ["rpm", "--root=/tree", "--import", ...keys] } as const]
          : []),
        { stage: "index", may: "fetch", argv: zypper("refresh", "--force") },
        {
          stage: "download",
          may: "fetch",
          argv: zypper("--no-refresh", ...install, "--download-only", "--", ...wanted),
        },
        { stage: "install", may: "install", argv: zypper("--no-refresh", ...install, "--", ...wanted) },
      ],
      inventory: rpmInventory(settings),
    };
  },

  steps: [
    /^Retrieving: (?<item>\S+).*\((?<done>\d+)\/(?<total>\d+)\)/,
    /^\((?<done>\d+)\/(?<total>\d+)\) (?<item>Installing: \S+)/,
  ],
  complaint: /^(?:Error|Problem|Failed|Signature verification failed|No provider of|Package '|File '|Abort)/,
  causes: [
    [
      /Signature verification failed|is not signed|unknown key|NOKEY|not trusted/i,
      "a repository or package is not signed with a key that the recipe names (keyring[])",
    ],
    [
      /No provider of|not found in package names/,
      "a package of the recipe, or of the lock file, is not (any more) in that release",
    ],
    ...COMMON_CAUSES,
  ],
  parsePackages: parseRpmPackages,
};

function exactly(packages: Packages): readonly string[] {
  return Object.entries(packages).map(([name, { version }]) => `${name}=${version}`);
}

function configuration(architecture: string): string {
  const values = ["rpm.install.excludedocs = yes", "solver.onlyRequires = true", `arch = ${architecture}`];
  return ["[main]", ...values, ""].join("\n");
}

function repository(name: string, address: string): string {
  const values = {
    name,
    baseurl: address,
    enabled: 1,
    autorefresh: 0,
    keeppackages: 1,
    gpgcheck: 1,
    repo_gpgcheck: 1,
    pkg_gpgcheck: 1,
  };
  return [`[${name}]`, ...Object.entries(values).map(([key, value]) => `${key}=${value}`), ""].join("\n");
}
