import { UsageError } from "../errors.ts";
import { quote } from "../spec/quote.ts";
import type { Sourced } from "../spec/source.ts";
import type { Parse } from "./setting.ts";
import { readBoolean } from "./values.ts";

/** BindUserShell=: whether bound users have their shell of the host, or which other one they have. */
export const bindUserShell: Parse<boolean | string> = (value, report) => {
  if (value.startsWith("/")) return value;
  const truth = readBoolean(value);
  if (truth === undefined) report({ what: `${quote(value)} is no shell`, expected: "an absolute path, yes or no" });
  return truth;
};

/** --bind-user-group=GROUP: part of a file's name inside, with a colon before it. */
export function groupOption(text: string): Sourced<string> {
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}$/.test(text))
    throw new UsageError(`--bind-user-group=: ${quote(text)} is no group name`, "a name such as wheel or sudo");
  return { value: text, source: { from: "option", option: `--bind-user-group=${text}` } };
}
