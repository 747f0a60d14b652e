import { expect, test } from "vitest";
import { consoleText } from "../../../src/spec/console-text.ts";

test.each([
  ["plain text, ünïcode", "plain text, ünïcode"],
  ["[\u001b[0;32m  OK  \u001b[0m] Started \u001b[0;1;39mx.service\u001b[0m.\r", "[  OK  ] Started x.service."],
  ["\u001b]0;title\u0007after a title", "after a title"],
  ["\u001b]8;;http://x\u001b\\link\u001b]8;;\u001b\\", "link"],
  ["\u001b(Bcharset \u001b=keypad \u001bMup", "charset keypad up"],
  ["10%\r50%\r100%", "100%"],
  ["a\tb", "a    b"],
  ["\u001b[2J\u001b[Hcleared", "cleared"],
  ["cut \u001b[3", "cut \\u{1b}[3"],
  ["bell \u0007 c1 \u009b31m bidi \u202e", "bell \\u{7} c1 \\u{9b}31m bidi \\u{202e}"],
  ["", ""],
])("%j is shown as %j", (line, shown) => {
  expect(consoleText(line)).toBe(shown);
});
