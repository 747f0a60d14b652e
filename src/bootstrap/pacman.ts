import { COMMON_CAUSES, type PackageTool, parseNameVersion } from "./package-tool.ts";
import type { RepositorySettings } from "./recipe.ts";

/** pacman(8) on a tree, with a configuration and a keyring of our own, as pacstrap(8) does it. */
export const pacman: PackageTool = {
  programs: [
    { name: "pacman", debian: "pacman-package-manager" },
    { name: "pacman-key", debian: "pacman-package-manager" },
  ],

  plan(settings, { packages, architecture, locked }) {
    // A repository has the newest of each only: whether these are the locked ones is seen afterwards.
    const wanted = locked === null ? packages : Object.keys(locked);
    const pacman = (...words: readonly string[]): readonly string[] => [
      "pacman",
      "--root=/tree",
      "--dbpath=/tree/var/lib/pacman",
      "--config=/tool/pacman.conf",
      "--gpgdir=/tool/gnupg",
      "--cachedir=/tool/cache",
      "--logfile=/tool/log",
      "--noconfirm",
      "--noprogressbar",
      ...words,
    ];
    const keys = settings.keyrings.flatMap((path) => /([^/]+)\.gpg$/.exec(path)?.[1] ?? []);
    const key = (...words: readonly string[]): readonly string[] => ["pacman-key", "--gpgdir=/tool/gnupg", ...words];
    return {
      files: { "pacman.conf": configuration(settings, architecture) },
      commands: [
        { stage: "index", may: "fetch", argv: ["mkdir", "-p", "/tree/var/lib/pacman", "/tool/gnupg"] },
        { stage: "index", may: "fetch", argv: key("--init") },
        ...(keys.length > 0
          ? [{ stage: "index", may: "fetch", argv: key("--populate-from=/tool/keys", "--populate", ...keys) } as const]
          : []),
        { stage: "download", may: "fetch", argv: pacman("--sync", "--refresh", "--downloadonly", ...wanted) },
        { stage: "install", may: "install", argv: pacman("--sync", ...wanted) },
      ],
      // The package has a list of all mirrors, with a # before each.
      treeFiles: { "/etc/pacman.d/mirrorlist": mirrorList(settings, architecture) },
      inventory: pacman("--query"),
    };
  },

  steps: [
    /^ ?(?<item>\S+) downloading\.\.\./,
    /^\((?<done>\d+)\/(?<total>\d+)\) (?<item>installing \S+)\.\.\./,
    /^(?<item>installing \S+)\.\.\./,
  ],
  complaint: /^error: /,
  causes: [
    [
      /invalid or corrupted|unknown trust|signature from .* is|key .* (?:could not be|is unknown)|missing required signature/i,
      "a package is not signed with a key that the recipe names (keyring[])",
    ],
    [/target not found/, "a package of the recipe, or of the lock file, is not (any more) in the repositories"],
    ...COMMON_CAUSES,
  ],
  parsePackages: parseNameVersion,
};

function mirrorList({ repositories }: RepositorySettings, architecture: string): string {
  const servers = repositories.map(({ name, address }) => {
    const words = address.split("/").map((word) => (word === name ? "$repo" : word === architecture ? "$arch" : word));
    return `Server = ${words.join("/")}\n`;
  });
  return [...new Set(servers)].join("");
}

function configuration({ repositories }: RepositorySettings, architecture: string): string {
  const options = [
    `Architecture = ${architecture}`,
    // Every package has a signature of its own; Arch's databases have none.
    "SigLevel = Required DatabaseOptional",
    "ParallelDownloads = 5",
  ];
  const sections = repositories.map(({ name, address }) => `[${name}]\nServer = ${address}\n`);
  return ["[options]", ...options, "", ...sections].join("\n");
}
