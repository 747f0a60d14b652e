import { COPIER_VERB } from "../copy/protocol.ts";
import { UsageError } from "../errors.ts";
import { FOLLOWER_VERB } from "../image/follow/protocol.ts";
import { suggest } from "../spec/nearest.ts";
import { print } from "./output.ts";
import { start } from "./program.ts";
import { OTHER_WORDS, verbFirst } from "./verb-first.ts";
import { VERBS, verbGroups } from "./verbs.ts";

/** What docker(1), lxc(1) and importctl(1) call them, for a hint: some of these have other options there, or do a little more. */
const WORDS_ELSEWHERE: Readonly<Record<string, string>> = {
  ...{ ls: "list", ps: "list", info: "status", inspect: "show", stats: "top", attach: "console", restart: "reboot" },
  ...{ rm: "remove", rmi: "remove", delete: "remove", destroy: "remove", "image-remove": "remove", prune: "clean" },
  ...{ copy: "clone", move: "rename", mv: "rename", restore: "rollback", freeze: "pause" },
  ...{ unpause: "resume", unfreeze: "resume", build: "bootstrap", create: "bootstrap" },
  ...{ export: "export-tar", save: "export-tar", import: "import-tar", load: "import-tar" },
};

/** What is no verb. */
async function other(word: string, words: readonly string[]): Promise<number> {
  if (word === COPIER_VERB) return (await import("../copy/copier.ts")).runCopier();
  if (word === FOLLOWER_VERB) return (await import("../image/follow/process.ts")).runFollower();
  if (word === "complete" && words[0] === "--") return completeWords(words.slice(1));
  if (!["help", "--help", "-h"].includes(word)) {
    const here = Object.hasOwn(WORDS_ELSEWHERE, word) ? `that is berth ${WORDS_ELSEWHERE[word]} here` : undefined;
    const hint = here ?? suggest(word, Object.keys(VERBS)) ?? "berth help lists them";
    throw new UsageError(`${word}: no such verb`, hint);
  }
  print(overview());
  return 0;
}

/** What a shell's completion script asks (completion-scripts.ts). */
async function completeWords(words: readonly string[]): Promise<number> {
  const { complete } = await import("./complete.ts");
  const { candidates, also } = await complete(words, process.env);
  print([also ?? "-", ...candidates.map(({ word, help }) => `${word}\t${help}`), ""].join("\n"));
  return 0;
}

function overview(): string {
  const groups = verbGroups().map(([title, names]) => {
    const rows = names.map((name) => `  ${name.padEnd(16)}${VERBS[name]?.summary}\n`);
    return `${title}:\n${rows.join("")}`;
  });
  return `berth [--root DIR] VERB ...\n\n${groups.join("\n")}\nberth help VERB, or berth VERB --help, says more of each.\n`;
}

start({ find: (verb, words) => VERBS[OTHER_WORDS[verb] ?? verb] ?? other(verb, words), verbFirst });
