import { describe, expect, test } from "vitest";
import { FILE_LENGTH_MAX, LINE_LENGTH_MAX, LINES_MAX, parseUnitFile, sourceAt } from "../../../src/config/unit-file.ts";
import { showProblem } from "../../../src/spec/problem.ts";
import { showSource } from "../../../src/spec/source.ts";

/** `line:column [section]key=value` of each assignment. */
function read(text: string): string[] {
  return parseUnitFile(text, "f").assignments.map(({ section, key, value, source }) => {
    const place = source.from === "file" ? `${source.line}:${source.column}` : "";
    return `${place} [${section}]${key}=${value}`;
  });
}

function problems(text: string): string[] {
  return parseUnitFile(text, "f").problems.map(showProblem);
}

// What systemd-nspawn 252 makes of the same text was compared for each of these.
describe("assignments", () => {
  test.each([
    ["plain", "[Exec]\nBoot=yes\n", ["2:6 [Exec]Boot=yes"]],
    ["no line end at the end", "[Exec]\nBoot=yes", ["2:6 [Exec]Boot=yes"]],
    ["white space around everything", " [Exec] \n\t Boot \t=\t yes \t\n", ["2:12 [Exec]Boot=yes"]],
    ["only blanks, tabs and line ends are white space", "[A]\nK=\u00a0x\v\f\n", ["2:3 [A]K=\u00a0x\v\f"]],
    ["empty value", "[A]\nK=\nL =  \n", ["2:3 [A]K=", "3:6 [A]L="]],
    ["the first = counts", "[A]\nK=a=b\n", ["2:3 [A]K=a=b"]],
    ["comments", "# a\n[A]\n;b=c\n  # K=1\nK=1 # 2\n", ["5:3 [A]K=1 # 2"]],
    ["continuation", "[A]\nK=a\\\n  b\\\nc\nL=1\n", ["2:3 [A]K=a   b c", "5:3 [A]L=1"]],
    ["comments in a continuation", "[A]\nK=a\\\n# c\\\n ;d\nb\n", ["2:3 [A]K=a b"]],
    ["an empty line ends a continuation", "[A]\nK=a\\\n\nL=1\n", ["2:3 [A]K=a", "4:3 [A]L=1"]],
    ["a comment does not continue", "[A]\n# c \\\nK=1\n", ["3:3 [A]K=1"]],
    ["continuation at the end of the file", "[A]\nK=a\\", ["2:3 [A]K=a"]],
    ["even backslashes do not continue", "[A]\nK=a\\\\\nL=1\n", ["2:3 [A]K=a\\\\", "3:3 [A]L=1"]],
    ["odd backslashes do", "[A]\nK=a\\\\\\\nb\n", ["2:3 [A]K=a\\\\ b"]],
    ["CRLF", "[A]\r\nK=1\r\nL=2\r\n", ["2:3 [A]K=1", "3:3 [A]L=2"]],
    ["CR", "[A]\rK=1\rL=2", ["2:3 [A]K=1", "3:3 [A]L=2"]],
    ["LFCR", "[A]\n\rK=1\n\r\nL=2", ["2:3 [A]K=1", "4:3 [A]L=2"]],
    ["byte order mark", "\uFEFF[A]\nK=1\n", ["2:3 [A]K=1"]],
    [
      "sections with blanks and brackets",
      "[ A ]\nK=1\n[[B]]\nK=2\n[]\nK=3",
      ["2:3 [ A ]K=1", "4:3 [[B]]K=2", "6:3 []K=3"],
    ],
    ["X- sections are not even read", "[X-A]\nnonsense\nK=1\n[A]\nX-K=1\n", ["5:5 [A]X-K=1"]],
    ["__proto__ is a name like any other", "[__proto__]\n__proto__=1\n", ["2:11 [__proto__]__proto__=1"]],
  ])("%s", (_, text, expected) => {
    expect(read(text)).toEqual(expected);
    expect(problems(text)).toEqual([]);
  });
});

describe("problems", () => {
  test.each([
    ["K=1\n[A]\n", 'f:1:1: warning: "K=1" stands before any section and is ignored'],
    ["[A]\n  nothing\n", 'f:2:3: warning: no "=" in "nothing", the line is ignored, expected Key=value'],
    ["[A]\n= 1\n", 'f:2:1: warning: no key before the "=" in "= 1", the line is ignored'],
    ["[A]\n[B\n=\nx\n", 'f:2:1: section header "[B" does not end with "]", expected [Section]'],
    ["[A]\nK=\uFFFD\n", 'f:2:1: "K=\uFFFD" is not valid UTF-8'],
    ["[A]\nK=1\uD800\n", 'f:2:1: "K=1\\u{d800}" is not valid UTF-8'],
    ["[A]\nK=1\0", "f:2:4: warning: a NUL byte, which ends the line"],
    [
      `[A]\nnothing ${"y".repeat(100)}`,
      `f:2:1: warning: no "=" in "nothing ${"y".repeat(72)}…", the line is ignored, expected Key=value`,
    ],
  ])("%j", (text, expected) => {
    expect(problems(text)).toEqual([expected]);
  });

  test("do not end the reading", () => {
    expect(read("x\n[A]\ny\nK=1\n[B\nL=2\n[A]\nM=3\n")).toEqual(["4:3 [A]K=1", "8:3 [A]M=3"]);
  });
});

test("a NUL byte ends a line, and the run of line ends it stands in", () => {
  expect(read("[A]\nK=1\0L=2\n\0\nM=3\n\0\0N=4")).toEqual(["2:3 [A]K=1", "3:3 [A]L=2", "5:3 [A]M=3", "7:3 [A]N=4"]);
});

describe("sourceAt", () => {
  const at = (text: string, offset: number): string | undefined => {
    const [assignment] = parseUnitFile(text, "f").assignments;
    const source = assignment === undefined ? undefined : sourceAt(assignment, offset);
    return source?.from === "file" ? `${showSource(source)}:${source.column}` : undefined;
  };

  test.each([
    ["on the key's line", "[A]\nK=abc\\\n  def\n", 2, "f:2:5"],
    ["on the next line", "[A]\nK=abc\\\n  def\n", 6, "f:3:3"],
    ["after a comment", "[A]\nK=abc\\\n#\n\tdef\n", 5, "f:4:2"],
    ["of a value that starts on the next line", "[A]\nK=\\\n  def\n", 1, "f:3:4"],
    ["of a line with a byte order mark", "\uFEFF[A]\nK=abc\n", 0, "f:2:3"],
  ])("%s", (_, text, offset, expected) => {
    expect(at(text, offset)).toBe(expected);
  });

  test("a value belongs to the line of its key", () => {
    expect(read("[A]\nK = \\\n  def\n")).toEqual(["2:4 [A]K=def"]);
  });
});

describe("limits", () => {
  test("a value of a line just short of the limit is read", () => {
    const value = "v".repeat(LINE_LENGTH_MAX - 2);
    expect(parseUnitFile(`[A]\nK=${value}\n`, "f").assignments[0]?.value).toBe(value);
  });

  test("a longer line is refused, continued or not", () => {
    const message = `f:2:1: the line is longer than ${LINE_LENGTH_MAX} characters`;
    expect(problems(`[A]\nK=${"v".repeat(LINE_LENGTH_MAX - 1)}\n`)).toEqual([message]);
    expect(problems(`[A]\nK=${`${"v".repeat(99)}\\\n`.repeat(LINE_LENGTH_MAX / 100 + 1)}`)).toEqual([message]);
  });

  test("a longer file is refused", () => {
    expect(problems("#".repeat(FILE_LENGTH_MAX + 1))).toEqual([
      `f:1:1: the file is longer than ${FILE_LENGTH_MAX} characters`,
    ]);
  });

  test("more lines are refused", () => {
    const { assignments, problems } = parseUnitFile(`[A]\n${"K=1\n".repeat(LINES_MAX)}`, "f");
    expect(assignments).toHaveLength(LINES_MAX - 1);
    expect(problems.map(showProblem)).toEqual([`f:${LINES_MAX + 1}:1: the file has more than ${LINES_MAX} lines`]);
  });

  // Each takes minutes, not milliseconds, as soon as a step is quadratic: the test's time limit finds it.
  test.each([
    ["blanks inside a line", `[A]\nK=a${" ".repeat(LINE_LENGTH_MAX - 10)}b\n`],
    ["nothing but blanks", `[A]\n${" ".repeat(LINE_LENGTH_MAX)}\n`],
    ["backslashes", `[A]\nK=${"\\".repeat(LINE_LENGTH_MAX - 4)}\n`],
    ["one line of many continuations", `[A]\nK=${"\\\n".repeat(LINES_MAX - 3)}`],
    ["empty lines", "\n".repeat(LINES_MAX)],
    ["equals signs", `[A]\n${"=".repeat(LINE_LENGTH_MAX)}\n`],
  ])("%s take linear time", (_, text) => {
    expect(parseUnitFile(text, "f").problems.filter((each) => each.severity === "error")).toEqual([]);
  });
});
