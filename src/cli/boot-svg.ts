import type { BootTimeline, Span } from "../machine/boot-timeline.ts";
import { visible } from "../spec/quote.ts";
import { time } from "./boot-bars.ts";

const ROW = 16;
const LEFT = 10;
const PLOT = 900;
const TEXT = 600;

const COLOURS: Readonly<Record<Span["kind"], string>> = {
  prepare: "#8a8f98",
  step: "#3b6ea5",
  phase: "#7a4fa3",
  unit: "#2f8f5b",
};

/** The whole boot as a picture: the launch above on a scale of its own, what its init did below. */
export function bootSvg(timeline: BootTimeline): string {
  const { machine, boot, began, executed, ready, spans } = timeline;
  const launch = spans.filter(({ kind }) => kind === "prepare" || kind === "step");
  const inside = spans.filter(({ kind }) => kind === "phase" || kind === "unit");
  const last = Math.max(executed, ready ?? 0, ...inside.map(({ start, end }) => end ?? start));
  const first = Math.min(0, ...launch.map(({ start }) => start));
  const upper = chart(launch, 60, first, executed, `launch: ${time(executed)}`);
  const title =
    ready === null ? "not ready" : `init: ready ${time(ready - executed)} later, ${time(ready)} after the start began`;
  const lower = chart(inside, upper.bottom + 50, executed, last, title);
  const height = lower.bottom + 20;
  return [
    `<?xml version="1.0" encoding="UTF-8"?>`,
    `<svg xmlns="http://www.w3.org/2000/svg" width="${LEFT + PLOT + TEXT}" height="${height}" font-family="sans-serif" font-size="11">`,
    `<rect width="100%" height="100%" fill="white"/>`,
    label(LEFT, 24, `${machine}, boot ${boot}, began ${began}`, `font-size="16"`),
    ...upper.shapes,
    ...lower.shapes,
    "</svg>\n",
  ].join("\n");
}

function chart(
  spans: readonly Span[],
  top: number,
  from: number,
  to: number,
  title: string,
): { readonly shapes: readonly string[]; readonly bottom: number } {
  const scale = (ms: number): number => LEFT + (to <= from ? 0 : ((ms - from) / (to - from)) * PLOT);
  const bottom = top + 10 + spans.length * ROW;
  const step = tick(to - from);
  const ticks = Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, index) => from + index * step);
  return {
    bottom,
    shapes: [
      label(LEFT, top - 14, title, `font-weight="bold"`),
      ...ticks.map((at) => {
        const x = scale(at).toFixed(1);
        return `<line x1="${x}" y1="${top}" x2="${x}" y2="${bottom}" stroke="#ddd"/>${label(Number(x), top - 2, time(at), `fill="#888" font-size="9"`)}`;
      }),
      ...spans.map((span, index) => {
        const [x, y] = [scale(span.start), top + 6 + index * ROW];
        const width = Math.max(1, scale(span.end ?? to) - x);
        const took = span.end === null ? "" : ` (${time(span.end - span.start)})`;
        return [
          `<rect x="${x.toFixed(1)}" y="${y}" width="${width.toFixed(1)}" height="${ROW - 4}" fill="${COLOURS[span.kind]}"/>`,
          label(x + width + 4, y + ROW - 7, `${span.name}${took}`),
        ].join("");
      }),
    ],
  };
}

/** 1, 2 or 5 times a power of ten, so that there are ten at most. */
function tick(range: number): number {
  if (range <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(range / 10));
  return [1, 2, 5, 10].map((each) => each * power).find((each) => range / each <= 10) ?? range;
}

function label(x: number, y: number, text: string, attributes = ""): string {
  return `<text x="${x.toFixed(1)}" y="${y}" ${attributes}>${asXml(visible(text))}</text>`;
}

function asXml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
