import { printable } from "../../spec/quote.ts";
import { signalNumber } from "../../spec/signals.ts";
import type { ImageConfig } from "./manifest.ts";

/** What an image's configuration says of how to run it, as a settings file: the command, and no more rights than any has. */
export interface SettingsText {
  readonly text: string;
  /** What of it can't be said in a settings file. */
  readonly left: readonly string[];
}

const LENGTH_MAX = 256 << 10;
const UID_MAX = 2 ** 32 - 2;

export function settingsOf(config: ImageConfig, reference: string): SettingsText {
  const left: string[] = [];
  const lines = [
    ...commandLine(config.command, left),
    ...config.environment.flatMap((each) => environmentLine(each, left)),
    ...userLine(config.user, left),
    ...directoryLine(config.directory, left),
    ...signalLine(config.stopSignal, left),
  ];
  const header = `# What ${reference} says of how it is run, by berth pull-oci.\n`;
  return { text: `${header}[Exec]\nBoot=no\n${lines.map((line) => `${line}\n`).join("")}`, left };
}

function commandLine(command: readonly string[], left: string[]): readonly string[] {
  const words = command.map(quoted);
  const said = words.filter((word) => word !== undefined);
  if (said.length === 0) return [];
  if (said.length < words.length || said.join(" ").length > LENGTH_MAX) {
    left.push("its command, which has line breaks or is too long");
    return [];
  }
  return [`Parameters=${said.join(" ")}`];
}

function environmentLine(assignment: string, left: string[]): readonly string[] {
  const word = quoted(assignment);
  if (word !== undefined && /^[A-Za-z_][A-Za-z0-9_]*=/.test(assignment)) return [`Environment=${word}`];
  left.push(`variable ${printable(assignment.split("=")[0] ?? "")}`);
  return [];
}

function userLine(user: string, left: string[]): readonly string[] {
  const [name = "", group] = user.split(":");
  if (group !== undefined && group !== "") left.push(`group ${printable(group)}`);
  if (name === "" || name === "root" || name === "0") return [];
  const isNoId = /^\d+$/.test(name) && Number(name) > UID_MAX;
  if (/^([A-Za-z0-9_][A-Za-z0-9_.-]{0,30})$/.test(name) && !isNoId) return [`User=${name}`];
  left.push(`user ${printable(name)}`);
  return [];
}

function directoryLine(directory: string, left: string[]): readonly string[] {
  if (directory === "" || directory === "/") return [];
  // The value of such a line is taken as it stands, white space at its ends aside.
  if (
    /^\/[^\p{Cc}]*$/u.test(directory) &&
    directory.trim() === directory &&
    !/[\\\uFFFD]$/.test(directory) &&
    isPlain(directory)
  )
    return [`WorkingDirectory=${directory}`];
  left.push("its directory");
  return [];
}

function signalLine(signal: string, left: string[]): readonly string[] {
  if (signal === "") return [];
  if (/^[A-Z0-9+-]{1,20}$/.test(signal) && signalNumber(signal) !== undefined) return [`KillSignal=${signal}`];
  left.push(`signal ${printable(signal)}`);
  return [];
}

/** systemd.nspawn(5) knows quotes, and no escapes. Undefined: it can't be written. */
function quoted(word: string): string | undefined {
  if (!isPlain(word) || word.length > LENGTH_MAX) return undefined;
  if (/^[\w./:=@%+,-]+$/.test(word)) return word;
  return word === "" ? "''" : word.replace(/[^']+|'+/g, (part) => (part.startsWith("'") ? `"${part}"` : `'${part}'`));
}

/** It stays on its line, and is text. */
function isPlain(text: string): boolean {
  return !/[\0\r\n\uFFFD]/.test(text) && text.isWellFormed();
}
