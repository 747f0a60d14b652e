import { type Command, Option } from "commander";

/**
 * Options of machinectl(1) with which nothing is different here, so that who types them from habit, or a script, need not know:
 * there is no pager, no password is asked for, nothing is said at a session's beginning, nothing is cut short.
 */
const INERT: readonly (readonly [flags: string, verbs: "all" | string])[] = [
  ["--no-pager", "all"],
  ["--no-ask-password", "all"],
  ["-q, --quiet", "shell login"],
  ["-l, --full", "status show list-images image-status show-image"],
];

/** Makes a verb's command take them. */
export function takeInertOptions(command: Command): void {
  for (const [flags, verbs] of INERT) {
    const option = new Option(flags).hideHelp();
    const isKnown = command.options.some(({ long }) => long === option.long);
    if (!isKnown && (verbs === "all" || verbs.split(" ").includes(command.name()))) command.addOption(option);
  }
}

/** What the manual says of them, in the markup of man-roff.ts. */
export function inertOptionsText(): string {
  return INERT.map(([flags, verbs]) => {
    const names = flags.replace(/[^ ,]+/g, "*$&*");
    return `${names}\n: Of ${verbs === "all" ? "every verb" : verbs.replace(/\S+/g, "*$&*").replaceAll(" ", ", ")}: changes nothing, as berth does so anyway.`;
  }).join("\n\n");
}
