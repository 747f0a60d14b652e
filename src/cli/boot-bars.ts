import type { BootTimeline, Span } from "../machine/boot-timeline.ts";
import { visible } from "../spec/quote.ts";

export interface BarsOptions {
  /** Also what took next to no time. */
  readonly all: boolean;
  readonly columns: number;
  readonly utf8: boolean;
}

/** Of a part that has more, so many that took longest are shown. */
const SHOWN = 15;
const BAR_MAX = 40;
/** Of the name, at least. */
const NAME_MIN = 24;

/** Two parts, each with bars of its own scale: the launch takes milliseconds, and a boot seconds. */
export function bootText(timeline: BootTimeline, options: BarsOptions): string {
  const { machine, boot, began, executed, ready, before, spans, init, problem } = timeline;
  const launch = spans.filter(({ kind }) => kind === "prepare" || kind === "step");
  const inside = spans.filter(({ kind }) => kind === "phase" || kind === "unit");
  const last = Math.max(executed, ready ?? 0, ...inside.map(({ end, start }) => end ?? start));
  const lines = [
    `${machine}, boot ${boot}, began ${began}`,
    "",
    `launch, until its init was executed: ${time(executed)}${compared(executed, before?.executed)}`,
    ...section(launch, Math.min(0, ...launch.map(({ start }) => start)), executed, options),
    "",
    ready === null
      ? `${init ?? "a command"}: not ready ${boot === 0 ? "yet" : "when it ended"}`
      : `${init ?? "a command"}, until it was ready: ${time(ready - executed)}${compared(ready, before?.ready)}`,
    ...section(inside, executed, last, options),
    ...(problem === null ? [] : [`  what its init did is not known: ${problem}`]),
    ...(ready === null ? [] : ["", `ready after ${time(ready)}`]),
  ];
  return `${lines.map((line) => visible(line).trimEnd()).join("\n")}\n`;
}

/** More than a fifth, and more than a moment, is news. */
function compared(now: number, before: number | null | undefined): string {
  if (before === null || before === undefined) return "";
  const slower = now > before * 1.2 && now - before > 50 ? ", slower" : "";
  return ` (the boot before: ${time(before)}${slower})`;
}

function section(spans: readonly Span[], from: number, to: number, options: BarsOptions): readonly string[] {
  const shown = options.all ? spans : longest(spans);
  const width = Math.max(8, Math.min(BAR_MAX, options.columns - NAME_MIN - 24));
  const rows = shown.map((span) => {
    const took = span.end === null ? "..." : time(span.end - span.start);
    const place = span.source === null || span.source === "default" ? "" : `  [${span.source}]`;
    return `  ${bar(span, from, to, width, options.utf8)} ${time(span.start).padStart(8)} ${took.padStart(8)}  ${span.name}${place}`;
  });
  const left = spans.length - shown.length;
  const head = `  ${" ".repeat(width)} ${"AT".padStart(8)} ${"TOOK".padStart(8)}  WHAT`;
  return [
    ...(rows.length === 0 ? [] : [head]),
    ...rows.map((row) => (row.length > options.columns ? `${row.slice(0, options.columns - 1)}…` : row)),
    ...(left === 0 ? [] : [`  and ${left} more that took less: --all`]),
  ];
}

/** In the order in which they began. */
function longest(spans: readonly Span[]): readonly Span[] {
  const took = ({ start, end }: Span): number => (end ?? Number.MAX_SAFE_INTEGER) - start;
  const some = spans.filter((span) => took(span) > 0);
  const chosen = new Set([...some].sort((a, b) => took(b) - took(a)).slice(0, SHOWN));
  return spans.filter((span) => chosen.has(span));
}

export function bar({ start, end }: Span, from: number, to: number, width: number, utf8: boolean): string {
  const scale = (ms: number): number => (to <= from ? 0 : ((ms - from) / (to - from)) * width);
  const first = Math.max(0, Math.min(width - 1, Math.floor(scale(start))));
  const last = end === null ? width : Math.max(first + 1, Math.min(width, Math.ceil(scale(end))));
  return `${" ".repeat(first)}${(utf8 ? "█" : "#").repeat(last - first)}`.padEnd(width);
}

/** `0.04 ms`, `7.3 ms`, `1.24 s` */
export function time(ms: number): string {
  const size = Math.abs(ms);
  if (size < 1) return `${ms.toFixed(2)} ms`;
  if (size < 100) return `${ms.toFixed(1)} ms`;
  return size < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}
