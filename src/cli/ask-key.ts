import { readSync } from "node:fs";
import { say } from "./output.ts";

/** Asks on the terminal until the answer begins with one of the letters. The last one where nobody answers any more. */
export function askKey(question: string, letters: string): string {
  for (;;) {
    say(`${question} `);
    const answer = readLine();
    if (answer === undefined) return letters.slice(-1);
    const letter = answer.trim().charAt(0).toLowerCase();
    if (letter !== "" && letters.includes(letter)) return letter;
  }
}

/** As a terminal hands it over. */
function readLine(): string | undefined {
  const bytes = Buffer.alloc(4096);
  try {
    const length = readSync(0, bytes);
    return length === 0 ? undefined : bytes.toString("utf8", 0, length);
  } catch {
    return undefined; // it was hung up
  }
}
