/**
 * Many questions to one machine: the probe's verbs in one run, with the answers told apart.
 *
 *   const talk = interview({ ids: ["ids"], map: ["cat", "/proc/self/uid_map"] });
 *   const { stdout } = await root.run(tree, [], talk.command);
 *   const answers = talk.answers(stdout);
 *   answers.line("ids").uid;  answers.text("map");  answers.errors(["ids", "map"])   // errno names or undefined
 */
import { type ProbeLine, parseProbe, probe } from "./probe.ts";

/** Prints a line that no question does: there is no such system call. */
const SEPARATOR = ["syscall", "-1"];
const SEPARATOR_LINE = /\{"verb":"syscall","result":-1,"errno":"ENOSYS"\}\n/;

export interface Answers<K extends string> {
  line(question: K): ProbeLine;
  text(question: K): string;
  /** The errno each question failed with, undefined where it did not. */
  errors(questions: readonly K[]): Record<string, string | undefined>;
}

export interface Interview<K extends string> {
  /** Of the machine. */
  readonly command: string[];
  answers(output: string): Answers<K>;
}

export function interview<K extends string>(questions: Readonly<Record<K, readonly string[]>>): Interview<K> {
  const names = Object.keys(questions) as K[];
  const words = names.flatMap((name) => [...questions[name], "--", ...SEPARATOR, "--"]).slice(0, -1);
  return { command: probe(...words), answers: (output) => answersIn(output, names) };
}

function answersIn<K extends string>(output: string, names: readonly K[]): Answers<K> {
  const texts = output.replaceAll("\r\n", "\n").split(SEPARATOR_LINE);
  const text = (question: K): string => {
    const answer = texts[names.indexOf(question)];
    if (answer === undefined || texts.length <= names.length) throw new Error(`no answer to ${question} in\n${output}`);
    return answer;
  };
  const line = (question: K): ProbeLine => {
    const found = parseProbe(text(question)).at(-1);
    if (found === undefined) throw new Error(`the answer to ${question} is no line of the probe:\n${text(question)}`);
    return found;
  };
  return {
    text,
    line,
    errors: (list) => Object.fromEntries(list.map((name) => [name, parseProbe(text(name)).at(-1)?.error])),
  };
}
