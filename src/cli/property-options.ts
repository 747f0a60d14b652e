import type { Command } from "commander";

/** What of properties is shown, by machinectl(1)'s options. */
export interface PropertyOptions {
  readonly property?: readonly string[];
  readonly all?: boolean;
  readonly value?: boolean;
}

export function addPropertyOptions(command: Command): Command {
  const collect = (name: string, before: readonly string[] = []): readonly string[] => [...before, ...name.split(",")];
  return command
    .option("-p, --property <name>", "only this one; may be given several times", collect)
    .option("-P <name>", "the value of this one alone: -p NAME --value", collect)
    .option("-a, --all", "also those that are not known or empty")
    .option("--value", "the values alone");
}

/** As if -P had been written out. */
export function spelledOut<T extends PropertyOptions>(options: T & { readonly P?: readonly string[] }): T {
  const { P: alone, property = [] } = options;
  return alone === undefined ? options : { ...options, property: [...property, ...alone], value: true };
}
