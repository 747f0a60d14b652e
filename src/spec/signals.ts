/** Numbers of asm-generic/signal.h, which x86-64 and arm64 share (signal(7)). One name a signal, as systemd has them. */
const NUMBERS: ReadonlyMap<string, number> = new Map(
  [
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT",
    "CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS",
  ]
    .join(" ")
    .split(" ")
    .map((name, index) => [`SIG${name}`, index + 1]),
);

/** First and last real-time signal as C programs see them: glibc and musl keep 32 and 33 for themselves. */
const RTMIN = 34;
const RTMAX = 64;

export const SIGNAL_NAMES: readonly string[] = [...NUMBERS.keys(), "SIGRTMIN", "SIGRTMAX"];

/**
 * The number of a signal as systemd lets users write one: `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`, `RTMAX-2`.
 * Upper case only. Undefined when there is no such signal.
 */
export function signalNumber(text: string): number | undefined {
  if (/^[0-9]{1,2}$/.test(text)) return inRange(Number(text), 1);
  const name = text.startsWith("SIG") ? text : `SIG${text}`;
  const fixed = NUMBERS.get(name);
  if (fixed !== undefined) return fixed;
  const realtime = /^SIG(?:RTMIN(?:\+([0-9]{1,2}))?|RTMAX(?:-([0-9]{1,2}))?)$/.exec(name);
  if (realtime === null) return undefined;
  const [, above, below] = realtime;
  return inRange(name.startsWith("SIGRTMIN") ? RTMIN + Number(above ?? 0) : RTMAX - Number(below ?? 0), RTMIN);
}

function inRange(number: number, least: number): number | undefined {
  return number >= least && number <= RTMAX ? number : undefined;
}

/** `SIGTERM`, `SIGRTMIN+3`; a number that is no signal is shown as it is. */
export function signalName(number: number): string {
  for (const [name, value] of NUMBERS) if (value === number) return name;
  if (number === RTMIN) return "SIGRTMIN";
  if (number > RTMIN && number <= RTMAX) return `SIGRTMIN+${number - RTMIN}`;
  return String(number);
}
