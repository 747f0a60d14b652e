/** What package managers say of a tree, read as their text: name to version. */
export type Packages = ReadonlyMap<string, string>;

export interface PackageChanges {
  readonly manager: string;
  readonly added: readonly { readonly name: string; readonly version: string }[];
  readonly removed: readonly { readonly name: string; readonly version: string }[];
  readonly changed: readonly { readonly name: string; readonly from: string; readonly to: string }[];
}

/** dpkg(1): /var/lib/dpkg/status. What is removed but for its configuration does not count. */
export function dpkgPackages(status: string): Packages {
  return fromParagraphs(status, /^([A-Za-z-]+): ?(.*)$/, (field) => {
    if (!/ (installed|half-installed|unpacked|half-configured|triggers-\w+)$/.test(field("Status"))) return undefined;
    return [`${field("Package")}:${field("Architecture")}`, field("Version")];
  });
}

/** apk(8): /lib/apk/db/installed. */
export function apkPackages(installed: string): Packages {
  return fromParagraphs(installed, /^([A-Za-z]):(.*)$/, (field) => [field("P"), field("V")]);
}

/** pacman(8): the names in /var/lib/pacman/local, `NAME-VERSION-RELEASE`. */
export function pacmanPackages(names: readonly string[]): Packages {
  return new Map(
    names.flatMap((name) => {
      const [, base, version] = /^(.+)-([^-]+-[^-]+)$/.exec(name) ?? [];
      return base === undefined || version === undefined ? [] : [[base, version] as const];
    }),
  );
}

/** Of rpm(8), asked for `NAME ARCH VERSION` lines. Of a package that is there several times, as kernels are, each version. */
export function rpmPackages(lines: readonly string[]): Packages {
  const versions = new Map<string, string[]>();
  for (const line of lines) {
    const [name = "", arch = "", version = ""] = line.split(" ");
    if (version !== "") versions.set(`${name}:${arch}`, [...(versions.get(`${name}:${arch}`) ?? []), version]);
  }
  return new Map([...versions].map(([name, all]) => [name, all.sort().join(", ")]));
}

export function comparePackages(manager: string, before: Packages, after: Packages): PackageChanges {
  const shown = nameOf([...before.keys(), ...after.keys()]);
  const only = (one: Packages, other: Packages) =>
    [...one]
      .filter(([key]) => !other.has(key))
      .map(([key, version]) => ({ name: shown(key), version }))
      .sort(byName);
  const changed = [...before].flatMap(([key, from]) => {
    const to = after.get(key);
    return to === undefined || to === from ? [] : [{ name: shown(key), from, to }];
  });
  return { manager, added: only(after, before), removed: only(before, after), changed: changed.sort(byName) };
}

/** Without the architecture where there is one of that name only. */
function nameOf(keys: readonly string[]): (key: string) => string {
  const bare = (key: string): string => key.replace(/:[^:]*$/, "");
  const count = new Map<string, number>();
  for (const key of new Set(keys)) count.set(bare(key), (count.get(bare(key)) ?? 0) + 1);
  return (key) => (count.get(bare(key)) === 1 ? bare(key) : key);
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

function fromParagraphs(
  text: string,
  line: RegExp,
  read: (field: (name: string) => string) => readonly [string, string] | undefined,
): Packages {
  const found = new Map<string, string>();
  for (const paragraph of text.split(/\n\n+/)) {
    const fields = new Map<string, string>();
    for (const each of paragraph.split("\n")) {
      const [, name, value] = line.exec(each) ?? [];
      if (name !== undefined && value !== undefined && !fields.has(name)) fields.set(name, value);
    }
    const [name, version] = read((field) => fields.get(field) ?? "") ?? [];
    if (name !== undefined && name !== "" && name !== ":" && version !== undefined && version !== "")
      found.set(name, version);
  }
  return found;
}
