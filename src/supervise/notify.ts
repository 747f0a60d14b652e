import { closeQuietly } from "../sys/files.ts";
import { type Unwatch, watch } from "../sys/poll.ts";
import { receive } from "../sys/sockets.ts";

/** What a machine's init says of itself by sd_notify(3); fields berth has no use for are left out. */
export interface Notification {
  readonly ready: boolean;
  readonly status: string | undefined;
  readonly stopping: boolean;
}

/**
 * Hears what init says on the notify socket. Everything a machine sends is untrusted: only its PID 1 is heard (the
 * kernel vouches for the sender), unknown fields are ignored, and received fds are closed, which also answers the
 * barrier that systemd-notify waits for.
 */
export function watchNotifications(
  socket: number,
  leader: number,
  onNotification: (notification: Notification) => void,
): Unwatch {
  return watch(socket, { readable: true }, () => {
    for (let message = receive(socket); message !== null; message = receive(socket)) {
      for (const fd of message.fds) closeQuietly(fd);
      if (message.credentials?.pid === leader) onNotification(parseNotification(message.data.toString("utf8")));
    }
  });
}

const STATUS_LENGTH_MAX = 512;

export function parseNotification(text: string): Notification {
  const fields = new Map<string, string>();
  for (const line of text.split("\n")) {
    const equals = line.indexOf("=");
    if (equals > 0) fields.set(line.slice(0, equals), line.slice(equals + 1));
  }
  return {
    ready: fields.get("READY") === "1",
    status: fields.get("STATUS")?.slice(0, STATUS_LENGTH_MAX),
    stopping: fields.get("STOPPING") === "1",
  };
}
