import { UsageError } from "../../errors.ts";
import { quote } from "../../spec/quote.ts";

/** Which image of which registry: `HOST[:PORT]/PATH[:TAG][@DIGEST]`. */
export interface Reference {
  /** As written: who is asked for it can be another server (registries.conf). */
  readonly registry: string;
  readonly repository: string;
  /** A tag, or a digest, which is what counts where both are given. */
  readonly version: string;
}

const DIGEST = /^sha256:[0-9a-f]{64}$/;
const COMPONENT = "[a-z0-9]+(?:(?:\\.|_{1,2}|-+)[a-z0-9]+)*";
const REPOSITORY = new RegExp(`^${COMPONENT}(?:/${COMPONENT})*$`);
const HOST = /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::\d{1,5})?$/;
const TAG = /^\w[\w.-]{0,127}$/;
const LENGTH_MAX = 255;

/** @throws UsageError */
export function parseReference(text: string): Reference {
  const [named = "", digest, more] = text.split("@");
  const slash = named.indexOf("/");
  const registry = slash < 0 ? "" : named.slice(0, slash);
  if (!/[.:]/.test(registry) && registry !== "localhost")
    throw new UsageError(
      `${quote(text)} does not say which registry it is in`,
      "as in docker.io/library/alpine:3.20, or registry.example.org/team/app@sha256:...",
    );
  const rest = named.slice(slash + 1);
  const colon = rest.lastIndexOf(":");
  const [repository, tag] = colon < 0 ? [rest, undefined] : [rest.slice(0, colon), rest.slice(colon + 1)];
  const good =
    HOST.test(registry) &&
    REPOSITORY.test(repository) &&
    repository.length <= LENGTH_MAX &&
    (tag === undefined || TAG.test(tag)) &&
    (digest === undefined || DIGEST.test(digest)) &&
    more === undefined;
  if (!good)
    throw new UsageError(`${quote(text)} is no image of a registry`, "REGISTRY/PATH:TAG or REGISTRY/PATH@sha256:...");
  return { registry, repository, version: digest ?? tag ?? "latest" };
}

export function isDigest(text: string): boolean {
  return DIGEST.test(text);
}

export function showReference({ registry, repository, version }: Reference): string {
  return `${registry}/${repository}${isDigest(version) ? "@" : ":"}${version}`;
}

/** The name that a machine gets where none is given: `alpine` of docker.io/library/alpine:3.20. */
export function nameOfReference({ repository }: Reference): string {
  return repository.slice(repository.lastIndexOf("/") + 1);
}
