export type KernelVersion = readonly [number, number];

/** First two numbers of `uname -r` (`6.1.0-13-amd64`), [0, 0] where it starts with none. */
export function parseKernelVersion(release: string): KernelVersion {
  const [, major = "0", minor = "0"] = /^(\d+)\.(\d+)/.exec(release) ?? [];
  return [Number(major), Number(minor)];
}

export function atLeast(version: KernelVersion, wanted: KernelVersion): boolean {
  return version[0] > wanted[0] || (version[0] === wanted[0] && version[1] >= wanted[1]);
}

/** CapEff of /proc/self/status: lower-case hex, bit N = capability N. */
export function parseEffectiveCapabilities(status: string): string {
  return /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? "0";
}

export function hasCapability(hex: string, capability: number): boolean {
  return ((BigInt(`0x${hex}`) >> BigInt(capability)) & 1n) === 1n;
}
