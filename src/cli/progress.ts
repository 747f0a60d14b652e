/** How far long work is, for people: one redrawn line on a terminal, else one line a step. */
export interface Progress {
  update(state: ProgressState): void;
  /** Takes the line off the terminal. Nothing may be drawn afterwards. */
  end(): void;
}

export interface ProgressState {
  /** What is being done now: `installing essential packages`. */
  readonly label: string;
  /** 0 to 1; null where nobody knows, which spins. */
  readonly fraction: number | null;
  /** `34/57 unpacking libc6`; text from outside, made harmless here. */
  readonly detail?: string;
}

/** The part of a terminal's stream that is used. */
export interface Terminal {
  write(text: string): unknown;
  readonly columns?: number;
}

export interface ProgressOptions {
  /** Context.fancy. */
  readonly fancy: boolean;
  /** What the work is on: `web`. */
  readonly title: string;
  readonly env: NodeJS.ProcessEnv;
}

/** Milliseconds. */
const REDRAW = 100;
const BAR_WIDTH = 24;
const CLEAR_LINE = "\r\x1b[K";
const HIDE_CURSOR = "\x1b[?25l";
const SHOW_CURSOR = "\x1b[?25h";

export function startProgress(terminal: Terminal, options: ProgressOptions): Progress {
  return options.fancy ? drawnProgress(terminal, options) : plainProgress(terminal, options);
}

function plainProgress(terminal: Terminal, { title }: ProgressOptions): Progress {
  let last = "";
  return {
    update({ label }) {
      if (label !== last) terminal.write(`${harmless(`${title}: ${label}`)}\n`);
      last = label;
    },
    end() {},
  };
}

/** A timer draws, not each update: thousands may come in a second, and a spinner has to turn without any. */
function drawnProgress(terminal: Terminal, { title, env }: ProgressOptions): Progress {
  const started = performance.now();
  const glyphs = hasUtf8(env) ? UTF8 : ASCII;
  let state: ProgressState | undefined;
  const draw = () => {
    if (state === undefined) return;
    const seconds = Math.floor((performance.now() - started) / 1000);
    const frame = Math.floor((performance.now() - started) / REDRAW);
    terminal.write(CLEAR_LINE + renderLine(state, { title, seconds, frame, glyphs, columns: terminal.columns ?? 80 }));
  };
  const timer = setInterval(draw, REDRAW).unref();
  terminal.write(HIDE_CURSOR);
  return {
    update(next) {
      const first = state === undefined;
      state = next;
      if (first) draw();
    },
    end() {
      clearInterval(timer);
      terminal.write(CLEAR_LINE + SHOW_CURSOR);
    },
  };
}

export interface Glyphs {
  readonly full: string;
  readonly empty: string;
  readonly spinner: string;
}

export const UTF8: Glyphs = { full: "█", empty: "░", spinner: "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" };
export const ASCII: Glyphs = { full: "#", empty: ".", spinner: "|/-\\" };

/** locale(7): the first that is set and not empty decides. */
export function hasUtf8(env: NodeJS.ProcessEnv): boolean {
  return /utf-?8/i.test(env["LC_ALL"] || env["LC_CTYPE"] || env["LANG"] || "");
}

export interface Drawing {
  readonly title: string;
  readonly seconds: number;
  readonly frame: number;
  readonly glyphs: Glyphs;
  readonly columns: number;
}

/** `web ████████░░░░░░  42 % 7s  installing packages 34/57 unpacking libc6`, never as wide as the terminal. */
export function renderLine(state: ProgressState, { title, seconds, frame, glyphs, columns }: Drawing): string {
  const { label, fraction, detail } = state;
  const spinner = glyphs.spinner.charAt(frame % glyphs.spinner.length);
  const head = fraction === null ? spinner : `${bar(fraction, glyphs)} ${String(percent(fraction)).padStart(3)} %`;
  const text = harmless(`${title} ${head} ${seconds}s  ${label}${detail ? ` ${detail}` : ""}`);
  return text.length < columns ? text : text.slice(0, Math.max(0, columns - 1));
}

function bar(fraction: number, { full, empty }: Glyphs): string {
  const filled = Math.round((percent(fraction) / 100) * BAR_WIDTH);
  return full.repeat(filled) + empty.repeat(BAR_WIDTH - filled);
}

function percent(fraction: number): number {
  return Math.floor(Math.min(1, Math.max(0, fraction)) * 100);
}

/** Nothing a terminal would act on: control, format and private-use characters. */
function harmless(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu, "?");
}
