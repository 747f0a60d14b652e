import { UsageError } from "../errors.ts";
import type { UnitProperty } from "../spec/machine-spec.ts";
import { quote } from "../spec/quote.ts";
import type { Sourced } from "../spec/source.ts";

/** UNIT_NAME_MAX of systemd. */
const NAME_MAX = 255;

/** --slice=NAME or NAME.slice: the dashes in a name say what it lies in (systemd.slice(5)). */
export function sliceOption(text: string): Sourced<string> {
  const option = `--slice=${text}`;
  const name = text.endsWith(".slice") ? text : `${text}.slice`;
  const body = name.slice(0, -".slice".length);
  const parts = body.split("-");
  const valid = /^[A-Za-z0-9:_.\\-]+$/.test(body) && name.length <= NAME_MAX;
  if (body !== "-" && (!valid || parts.includes("")))
    throw new UsageError(
      `--slice=: ${quote(text)} is no name of a slice`,
      "letters, digits and :_. such as web.slice; web-front.slice lies in web.slice",
    );
  return { value: name, source: { from: "option", option } };
}

/** --property=NAME=VALUE. What a scope takes is systemd's to say. */
export function propertyOption(text: string): Sourced<UnitProperty> {
  const option = `--property=${text}`;
  const [, name, value] = /^([A-Za-z0-9]+)=(.*)$/s.exec(text) ?? [];
  if (name === undefined || value === undefined)
    throw new UsageError(`--property=: ${quote(text)} sets nothing`, "NAME=VALUE such as MemoryMax=2G");
  return { value: { name, value }, source: { from: "option", option } };
}
