import { UsageError } from "../errors.ts";
import { printable, quote } from "../spec/quote.ts";

/** An option's value, as `docker exec -e` has it: a name alone passes on our own variable, where there is one. */
export function variable(option: string, text: string, env: NodeJS.ProcessEnv): readonly string[] {
  const [name = ""] = text.split("=", 1);
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
    throw new UsageError(`${option}=${printable(text)}: ${quote(name)} is no name of a variable`);
  if (text.includes("=")) return [text];
  const value = env[name];
  return value === undefined ? [] : [`${name}=${value}`];
}
