import type { LockedPackage, Packages } from "./lock.ts";
import type { RepositorySettings } from "./recipe.ts";

/** What the tools of the rpm family have in common. */

/** A Debian host's own rpm has its database in the user's home directory, to keep off the host's. */
export function rpmMacros({ database, databaseBackend }: RepositorySettings): string {
  return [
    `%_dbpath ${database ?? "/usr/lib/sysimage/rpm"}`,
    `%_db_backend ${databaseBackend ?? "sqlite"}`,
    // Mounted while packages are installed.
    "%_netsharedpath /dev:/proc:/sys",
    // No bus there.
    "%__transaction_systemd_inhibit %{nil}",
    "",
  ].join("\n");
}

/** Keys have no architecture, and are no packages. */
export function rpmInventory({ database }: RepositorySettings): readonly string[] {
  const format = "%{NAME}.%{ARCH} %{EPOCHNUM}:%{VERSION}-%{RELEASE} %{SHA256HEADER}\\n";
  return ["rpm", `--dbpath=/tree${database ?? "/usr/lib/sysimage/rpm"}`, "--query", "--all", `--queryformat=${format}`];
}

export function parseRpmPackages(lines: readonly string[]): Packages {
  const found = lines.flatMap((line): (readonly [string, LockedPackage])[] => {
    const [, name, version, digest] = /^([^\s]+\.[a-z0-9_]+) (\d+:\S+) (\S+)$/.exec(line) ?? [];
    if (name === undefined || version === undefined) return [];
    return [
      [
        name,
        { version: version.replace(/^0:/, ""), digest: /^[0-9a-f]{64}$/.test(digest ?? "") ? (digest ?? null) : null },
      ],
    ];
  });
  return Object.fromEntries(found);
}

/** `name-[epoch:]version-release.arch` of each. */
export function nevras(packages: Packages): readonly string[] {
  return Object.entries(packages).map(([name, { version }]) => {
    const dot = name.lastIndexOf(".");
    return `${name.slice(0, dot)}-${version}${name.slice(dot)}`;
  });
}
