import { quote } from "../spec/quote.ts";
import type { Parse } from "./setting.ts";
import { readBoolean } from "./values.ts";

/** BindUserShell=: whether bound users have their shell of the host, or which other one they have. */
export const bindUserShell: Parse<boolean | string> = (value, report) => {
  if (value.startsWith("/")) return value;
  const truth = readBoolean(value);
  if (truth === undefined) report({ what: `${quote(value)} is no shell`, expected: "an absolute path, yes or no" });
  return truth;
};
