import { describe, expect, test } from "vitest";
import { bar, bootText, time } from "../../../src/cli/boot-bars.ts";
import { bootNumber } from "../../../src/cli/boot-number.ts";
import { bootSvg } from "../../../src/cli/boot-svg.ts";
import type { BootTimeline, Span } from "../../../src/machine/boot-timeline.ts";

const span = (kind: Span["kind"], name: string, start: number, end: number | null): Span => ({
  ...{ kind, name, start, end },
  ...{ index: kind === "step" ? 3 : null, source: kind === "step" ? "web.nspawn:2" : null },
});
const TIMELINE: BootTimeline = {
  ...{ machine: "web", boot: 0, began: "2026-01-01T00:00:00.000Z", init: "systemd", executed: 10, ready: 1010 },
  spans: [
    span("prepare", "plan", -10, 0),
    span("step", "copy <mount> & go\u202e", 0, 10),
    span("phase", "reads its units", 10, 110),
    span("unit", "a.service", 110, 1010),
    span("unit", "slow.service", 500, null),
    span("unit", "x.target", 600, 600),
  ],
  before: { executed: 9, ready: 500 },
  problem: null,
};
const OPTIONS = { all: true, columns: 120, utf8: false };

test("a timeline as text, each part on its own scale", () => {
  expect(bootText(TIMELINE, OPTIONS)).toBe(`web, boot 0, began 2026-01-01T00:00:00.000Z

launch, until its init was executed: 10.0 ms (the boot before: 9.0 ms)
                                                 AT     TOOK  WHAT
  ####################                     -10.0 ms  10.0 ms  plan
                      ####################  0.00 ms  10.0 ms  copy <mount> & go\\u{202e}  [web.nspawn:2]

systemd, until it was ready: 1.00 s (the boot before: 500 ms, slower)
                                                 AT     TOOK  WHAT
  ####                                      10.0 ms   100 ms  reads its units
      ####################################   110 ms   900 ms  a.service
                     #####################   500 ms      ...  slow.service
                         #                   600 ms  0.00 ms  x.target

ready after 1.01 s
`);
});

test("what took no time is shown on demand, and lines are no wider than the terminal", () => {
  const text = bootText(TIMELINE, { ...OPTIONS, all: false, columns: 60 });
  expect(text).not.toContain("x.target");
  expect(text).toContain("and 1 more that took less: --all");
  for (const line of text.split("\n").slice(3, 6)) expect(line.length).toBeLessThanOrEqual(60 + 8);
});

test("one that is not ready, and of which nothing is known", () => {
  const text = bootText(
    { ...TIMELINE, boot: -1, ready: null, spans: [], before: null, problem: "it\n is off" },
    OPTIONS,
  );
  expect(text).toContain("systemd: not ready when it ended\n  what its init did is not known: it\\u{a} is off\n");
});

describe("bars", () => {
  test.each([
    [0, 10, "#####     "],
    [10, 20, "     #####"],
    [5, 5, "  #       "],
    [20, null, "         #"],
    [0, 20, "##########"],
  ])("from %s to %s", (start, end, drawn) => {
    expect(bar(span("unit", "x", start, end), 0, 20, 10, false)).toBe(drawn);
  });
  test("of no time at all", () => {
    expect(bar(span("unit", "x", 0, 0), 0, 0, 4, true)).toBe("█   ");
  });
  test.each([
    [0.0412, "0.04 ms"],
    [-3.21, "-3.2 ms"],
    [99.94, "99.9 ms"],
    [640.4, "640 ms"],
    [12_345, "12.35 s"],
  ])("%s ms is %s", (ms, text) => expect(time(ms)).toBe(text));
});

test("a picture is XML, whatever names say", () => {
  const svg = bootSvg(TIMELINE);
  expect(svg).toContain("copy &#60;mount&#62; &#38; go\\u{202e} (10.0 ms)");
  expect(svg.match(/<rect/g)).toHaveLength(1 + TIMELINE.spans.length);
  expect(bootSvg({ ...TIMELINE, spans: [], ready: null })).not.toContain("NaN");
});

test.each(["1", "x", "-", "--1", "1.5"])("--boot=%s is no boot", (text) => {
  expect(() => bootNumber(text)).toThrow("is no boot");
});
