import { COMMON_CAUSES, type PackageTool, parseNameVersion } from "./package-tool.ts";
import type { RepositorySettings } from "./recipe.ts";

/**
 * What pacman-key(8) makes of keyrings, without what that needs besides: a key of our own signs those that are to be
 * trusted, each of which vouches a little for the packagers'. Arguments: the keyrings' names.
 */
const TRUST = `
set -eu
gpg() { command gpg --homedir=/tool/gnupg --batch --quiet --no-permission-warning "$@"; }
chmod 0700 /tool/gnupg
# pacman looks for a keyring of this name.
: >/tool/gnupg/pubring.gpg
gpg --passphrase '' --quick-generate-key berth ed25519 sign never
for name in "$@"; do
  gpg --import "/tool/keys/$name.gpg"
  [ -e "/tool/keys/$name-trusted" ] || continue
  while IFS=: read -r id rest; do
    [ -z "$id" ] || gpg --passphrase '' --yes --quick-lsign-key "$id"
  done <"/tool/keys/$name-trusted"
  gpg --import-ownertrust "/tool/keys/$name-trusted"
  [ -e "/tool/keys/$name-revoked" ] || continue
  while read -r id rest; do
    [ -z "$id" ] || gpg --yes --delete-keys "$id" 2>/dev/null || :
  done <"/tool/keys/$name-revoked"
done
gpg --check-trustdb
`;

/** pacman(8) on a tree, with a configuration and a keyring of our own, as pacstrap(8) does it. */
export const pacman: PackageTool = {
  programs: [
    { name: "pacman", debian: "pacman-package-manager" },
    { name: "gpg", debian: "gpg" },
    { name: "gpg-agent", debian: "gpg-agent" },
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
      ...words,
    ];
    const keys = settings.keyrings.flatMap((path) => /([^/]+)\.gpg$/.exec(path)?.[1] ?? []);
    return {
      files: { "pacman.conf": configuration(settings, architecture) },
      commands: [
        { stage: "index", may: "fetch", argv: ["mkdir", "-p", "/tree/var/lib/pacman", "/tool/gnupg"] },
        { stage: "index", may: "fetch", argv: ["sh", "-c", TRUST, "berth-keys", ...keys] },
        {
          stage: "download",
          may: "fetch",
          argv: pacman("--sync", "--refresh", "--noprogressbar", "--downloadonly", ...wanted),
        },
        { stage: "install", may: "install", argv: pacman("--sync", "--noprogressbar", ...wanted) },
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
      /invalid or corrupted|unknown trust|signature from .* is|key .* (?:could not be|is unknown)|missing required signature|\.sig' from /i,
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
