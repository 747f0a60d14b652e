import { Command } from "commander";
import { expect, test } from "vitest";
import { addStartOptions } from "../../../src/cli/start-options.ts";
import { COMMAND_OPTIONS, optionName } from "../../../src/config/settings.ts";

const OPTIONS = COMMAND_OPTIONS.map((option) => ({ name: optionName(option.form), ...option }));

test.each(OPTIONS)("$name sets its setting, and the next word is the command", ({ name, form, settings }) => {
  const command = new Command().exitOverride().argument("[command...]").passThroughOptions();
  const options = addStartOptions(command);
  const value = form.item === undefined ? "A=b" : `${form.item}=A=b`;
  const given = form.implies === undefined ? [name, value] : form.optional ? [`${name}=A=b`] : [name];
  command.parse([...given, "sh", "-c", "true"], { from: "user" });
  const implied = form.optional ? undefined : form.implies;
  expect(options.assignments).toMatchObject([{ key: settings.at(-1)?.key, value: implied ?? "A=b" }]);
  expect(command.args).toEqual(["sh", "-c", "true"]);
});
