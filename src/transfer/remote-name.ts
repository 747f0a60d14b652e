/** `REMOTE:IMAGE`. Undefined: it has no remote. */
export function splitRemote(text: string): { readonly remote: string; readonly name: string } | undefined {
  const [, remote, name] = /^([A-Za-z0-9][A-Za-z0-9_-]*):(?!\/\/)(.*)$/.exec(text) ?? [];
  return remote === undefined || name === undefined ? undefined : { remote, name };
}
