/**
 * The host's unmodified machinectl against berth's own bus. It insists on a host that systemd runs, which it takes
 * /run/systemd/system for: so it gets a mount namespace of its own with that directory in it.
 *
 *   const machinectl = machinectlOn(root);
 *   const { status, stdout } = await machinectl("list", "--no-legend");
 *   await using terminal = openTerminal({ rows: 24, columns: 80 });
 *   await terminal.spawn(machinectl.argv("shell", "m"), machinectl.env).end      // what needs a terminal
 */
import type { BerthRoot, End, RunOptions } from "./berth.ts";

const SCRIPT = 'mount -t tmpfs tmpfs /run/systemd && mkdir /run/systemd/system && exec "$@"';

export interface Machinectl {
  (...words: readonly string[]): Promise<End>;
  argv(...words: readonly string[]): readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

/** `program`: another one's, as that of a tree that is entered with chroot. */
export function machinectlOn(root: BerthRoot, program: readonly string[] = ["machinectl"]): Machinectl {
  const env = {
    DBUS_SYSTEM_BUS_ADDRESS: `unix:path=${root.bus}`,
    SYSTEMD_PAGER: "cat",
    SYSTEMD_COLORS: "0",
    TERM: "xterm",
    LANG: "C.UTF-8",
    PATH: process.env["PATH"],
  };
  const argv = (...words: readonly string[]): string[] => [
    "unshare",
    "-m",
    "sh",
    "-c",
    SCRIPT,
    "sh",
    ...program,
    ...words,
  ];
  const run = (words: readonly string[], more: RunOptions = {}): Promise<End> =>
    root.spawn(argv(...words), { ...more, env }).end;
  return Object.assign((...words: readonly string[]) => run(words), { argv, env });
}
