/** Debian's packages of the keyrings that recipes name; where Debian has none, the distribution does. */
const PACKAGES: readonly (readonly [RegExp, string])[] = [
  [/\/debian-archive-/, "debian-archive-keyring"],
  [/\/ubuntu-archive-/, "ubuntu-keyring"],
  [/\/archlinux/, "archlinux-keyring"],
];

export function keyringPackages(paths: readonly string[]): readonly string[] {
  const names = paths.flatMap((path) => PACKAGES.find(([pattern]) => pattern.test(path))?.[1] ?? []);
  return [...new Set(names)];
}
