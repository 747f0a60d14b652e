/** machine-id(5): 32 hex digits, lower case here. Null for an empty, `uninitialized`, all-zero or otherwise unusable one. */
export function parseMachineId(text: string | null): string | null {
  const id = text?.trim().toLowerCase() ?? "";
  return /^[0-9a-f]{32}$/.test(id) && !/^0+$/.test(id) ? id : null;
}

/** localtime(5): /etc/localtime is a link into zoneinfo/, and the rest of its target is the zone's name. */
export function timezoneOfLink(target: string | null): string | null {
  const name = /(?:^|\/)usr\/share\/zoneinfo\/(.+)$/.exec(target ?? "")?.[1];
  // tzdata's names only: this becomes part of paths.
  return name !== undefined && /^[A-Za-z0-9_+-]+(\/[A-Za-z0-9_+-]+)*$/.test(name) ? name : null;
}
