import { TIOCGWINSZ, TIOCSWINSZ } from "./constants.ts";
import { bind, check, pinned } from "./libc.ts";

const ioctlCall = bind("int ioctl(int fd, ulong request, void *argument)");

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

/** Sets the size and sends SIGWINCH to the foreground process group of the terminal. */
export function setWindowSize(fd: number, size: WindowSize): void {
  const value = pinned(8);
  value.writeUInt16LE(size.rows, 0);
  value.writeUInt16LE(size.columns, 2);
  check(ioctlCall(fd, TIOCSWINSZ, value), "ioctl TIOCSWINSZ");
}
