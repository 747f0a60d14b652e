import { expect, test } from "vitest";
import { ASCII, type Drawing, renderLine, startProgress, UTF8 } from "../../../src/cli/progress.ts";

const DRAWING: Drawing = { title: "web", seconds: 7, frame: 0, glyphs: ASCII, columns: 100 };

function record(fancy: boolean, env: NodeJS.ProcessEnv = {}) {
  const written: string[] = [];
  const progress = startProgress({ write: (text) => written.push(text) }, { fancy, title: "web", env });
  return { written, progress };
}

test("the bar, how far, how long, what", () => {
  const state = { label: "installing packages", fraction: 0.5, detail: "34/57 unpacking libc6" };
  expect(renderLine(state, DRAWING)).toBe(
    "web ############............  50 % 7s  installing packages 34/57 unpacking libc6",
  );
  expect(renderLine({ label: "x", fraction: 1 }, { ...DRAWING, glyphs: UTF8 })).toBe(
    `web ${"█".repeat(24)} 100 % 7s  x`,
  );
});

test("a fraction out of bounds draws a whole or an empty bar", () => {
  expect(renderLine({ label: "x", fraction: 7 }, DRAWING)).toContain(`${"#".repeat(24)} 100 %`);
  expect(renderLine({ label: "x", fraction: -1 }, DRAWING)).toContain(`${".".repeat(24)}   0 %`);
});

test("unknown progress spins", () => {
  const frames = [0, 1, 2, 3, 4].map((frame) => renderLine({ label: "x", fraction: null }, { ...DRAWING, frame }));
  expect(frames).toEqual(["|", "/", "-", "\\", "|"].map((glyph) => `web ${glyph} 7s  x`));
});

test("a line is always shorter than the terminal, and harmless", () => {
  for (const columns of [0, 1, 10, 40]) {
    const line = renderLine({ label: "x".repeat(200), fraction: 0.3 }, { ...DRAWING, columns });
    expect(line.length).toBeLessThan(Math.max(1, columns));
  }
  expect(renderLine({ label: "a\u001b[2Jb\u202e\n", fraction: null }, DRAWING)).toBe("web | 7s  a?[2Jb??");
});

test("without a terminal there is one plain line a step", () => {
  const { written, progress } = record(false);
  progress.update({ label: "one", fraction: 0 });
  progress.update({ label: "one", fraction: 0.1, detail: "1/2" });
  progress.update({ label: "two\u001b[0m", fraction: 0.5 });
  progress.end();
  expect(written).toEqual(["web: one\n", "web: two?[0m\n"]);
});

test("on a terminal the line is drawn at once, and taken off at the end with the cursor back", () => {
  const { written, progress } = record(true, { LANG: "de_DE.UTF-8" });
  progress.update({ label: "one", fraction: 0.5 });
  expect(written.at(-1)).toBe(`\r\u001b[Kweb ${"█".repeat(12)}${"░".repeat(12)}  50 % 0s  one`);
  progress.end();
  expect(written.at(-1)).toBe("\r\u001b[K\u001b[?25h");
  expect(written[0]).toBe("\u001b[?25l");
});

test("a terminal that is not UTF-8 gets ASCII; LC_ALL goes before LANG", () => {
  const { written, progress } = record(true, { LC_ALL: "C", LANG: "en_US.UTF-8" });
  progress.update({ label: "one", fraction: 0.5 });
  progress.end();
  expect(written.join("")).toContain("####");
});
