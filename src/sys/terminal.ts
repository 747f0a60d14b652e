import {
  O_CLOEXEC,
  O_NOCTTY,
  O_RDWR,
  TCGETS,
  TCSETS,
  TIOCGPTN,
  TIOCGPTPEER,
  TIOCGWINSZ,
  TIOCSWINSZ,
} from "./constants.ts";
import { bind, check, pinned } from "./libc.ts";

const ioctlCall = bind("int ioctl(int fd, ulong request, void *argument)");
const ioctlNumber = bind("int ioctl(int fd, ulong request, long argument)");
const getpgrpCall = bind("int getpgrp()");

// asm-generic/ioctls.h
const TIOCGPGRP = 0x540f;
const TIOCGSID = 0x5429;

/** struct winsize of tty_ioctl(4), the two fields programs look at. */
export interface WindowSize {
  readonly rows: number;
  readonly columns: number;
}

export function getWindowSize(fd: number): WindowSize {
  const size = pinned(8);
  check(ioctlCall(fd, TIOCGWINSZ, size), "ioctl TIOCGWINSZ");
  return { rows: size.readUInt16LE(0), columns: size.readUInt16LE(2) };
}

/** The other side of a terminal whose master this is, whatever file system its name would be in; it is opened without becoming ours. */
export function openOtherSide(master: number): number {
  return check(ioctlNumber(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC), "ioctl TIOCGPTPEER");
}

/** Whether the other side is somebody's controlling terminal. */
export function hasSession(master: number): boolean {
  return ioctlCall(master, TIOCGSID, pinned(4)) === 0;
}

/** isatty(3). Node's own is in node:tty, which brings all of its sockets along: 0.8 ms of a command that needs none. */
export function isTerminal(fd: number): boolean {
  return ioctlCall(fd, TCGETS, pinned(SIZE_OF_TERMIOS)) === 0;
}

/** The side of a pseudo terminal that a terminal emulator has (pty(7)). */
export function isPtyMaster(fd: number): boolean {
  return ioctlCall(fd, TIOCGPTN, pinned(4)) === 0;
}

/** Sets the size and sends SIGWINCH to the foreground process group of the terminal. */
export function setWindowSize(fd: number, size: WindowSize): void {
  const value = pinned(8);
  value.writeUInt16LE(size.rows, 0);
  value.writeUInt16LE(size.columns, 2);
  check(ioctlCall(fd, TIOCSWINSZ, value), "ioctl TIOCSWINSZ");
}

/**
 * Whether a terminal's modes can be changed without being stopped for it (SIGTTOU, which a background process gets). One
 * that is not our controlling terminal has no such rule (ENOTTY).
 */
export function inForeground(fd: number): boolean {
  const group = pinned(4);
  return ioctlCall(fd, TIOCGPGRP, group) < 0 || group.readInt32LE(0) === getpgrpCall();
}

// struct termios of asm-generic/termbits.h: four words of flags, the line discipline, the control characters.
const SIZE_OF_TERMIOS = 36;
const [INPUT, OUTPUT, CONTROL, LOCAL, CHARACTERS] = [0, 4, 8, 12, 17];
const [VTIME, VMIN] = [5, 6];
const CS8 = 0o60;
/** What cfmakeraw(3) takes away: IGNBRK to ICRNL and IXON; OPOST; CSIZE, PARENB; ISIG, ICANON, ECHO, ECHONL, IEXTEN. */
const COOKED: readonly (readonly [number, number])[] = [
  [INPUT, 0o2753],
  [OUTPUT, 0o1],
  [CONTROL, 0o460],
  [LOCAL, 0o100113],
];

/**
 * Makes a terminal pass every byte on as it is, both ways. Node's setRawMode would still translate what is shown: each
 * line end of a console gains a second return, and full-screen programs draw askew. Returns how to put the modes back.
 */
export function makeRaw(fd: number): () => void {
  const before = pinned(SIZE_OF_TERMIOS);
  check(ioctlCall(fd, TCGETS, before), "ioctl TCGETS");
  const raw = pinned(SIZE_OF_TERMIOS);
  before.copy(raw);
  for (const [at, bits] of COOKED) raw.writeUInt32LE((raw.readUInt32LE(at) & ~bits) >>> 0, at);
  raw.writeUInt32LE(raw.readUInt32LE(CONTROL) | CS8, CONTROL);
  raw.writeUInt8(0, CHARACTERS + VTIME);
  raw.writeUInt8(1, CHARACTERS + VMIN);
  check(ioctlCall(fd, TCSETS, raw), "ioctl TCSETS");
  // One that was hung up meanwhile has no modes any more.
  return () => void ioctlCall(fd, TCSETS, before);
}
