/** A word on a terminal that says that something begins, and that nobody is to see. */
import { expect, test } from "vitest";
import type { ConsoleOutput } from "../../../src/supervise/fd-reader.ts";
import { Herald } from "../../../src/supervise/herald.ts";

const WORD = "<<begin>";

/** What is shown of these chunks, with `!` where the word was. `full`: whoever takes them is, always. */
async function shown(chunks: readonly string[], full = false): Promise<{ text: string; went: readonly boolean[] }> {
  let text = "";
  let give: (chunk: Buffer) => boolean = () => true;
  const output: ConsoleOutput = {
    closed: false,
    start: (take) => {
      give = take;
    },
    resume: () => undefined,
    ended: () => Promise.resolve(),
    close: () => undefined,
  };
  const herald = new Herald(output, Buffer.from(WORD), () => {
    text += "!";
  });
  herald.start((chunk) => {
    text += chunk.toString();
    return !full;
  });
  const went = chunks.map((chunk) => give(Buffer.from(chunk)));
  await herald.ended();
  return { text, went };
}

test.each([
  ["in one piece", ["a<<begin>b"], "a!b"],
  ["alone", ["a", "<<begin>", "b"], "a!b"],
  ["cut anywhere", [..."a<<<begin>b"], "a<!b"],
  ["after what looks like it", ["<<beg", "<<be", "<", "<begin>", "x"], "<<beg<<be!x"],
  ["once", ["<<begin><<begin>"], "!<<begin>"],
  ["never", ["a<<", "begin"], "a<<begin"],
  ["at the end", ["a<<begin>"], "a!"],
])("is found %s", async (_, chunks, text) => {
  expect((await shown(chunks)).text).toBe(text);
});

test("who is full is not given more than was asked for", async () => {
  expect(await shown(["a", "<<", "begin>b", "c"], true)).toEqual({ text: "a!bc", went: [false, true, false, false] });
});
