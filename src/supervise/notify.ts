import { monotonic } from "../sys/clock.ts";
import { closeQuietly } from "../sys/files.ts";
import { type Unwatch, watch } from "../sys/poll.ts";
import { type Message, receive } from "../sys/sockets.ts";

/** What a machine's init says of itself by sd_notify(3); fields berth has no use for are left out. */
export interface Notification {
  readonly ready: boolean;
  readonly status: string | undefined;
  readonly stopping: boolean;
}

/**
 * How much is read in how many ms: datagrams, and fds that come in them. An init has less to say; and what is sent to
 * keep us busy, who are outside the machine's cgroup, costs us a few percent of a CPU.
 */
const WORK_MAX = 64;
const INTERVAL_MS = 50;
/** How often a mere STATUS= is passed on. */
const STATUS_INTERVAL_MS = 200;

/**
 * Hears what init says on the notify socket. Everything a machine sends is untrusted: only its PID 1 is heard (the
 * kernel vouches for the sender), unknown fields are ignored, and received fds are closed, which also answers the
 * barrier that systemd-notify waits for. That it has become ready, or stops, is passed on at once.
 */
export function watchNotifications(
  socket: number,
  leader: number,
  onNotification: (notification: Notification) => void,
): Unwatch {
  const news = new News(onNotification);
  const stop = readSteadily(socket, ({ credentials, data }) => {
    if (credentials?.pid === leader) news.hear(parseNotification(data.toString("utf8")));
  });
  return () => {
    stop();
    news.close();
  };
}

/** Reads without ever being kept busy: who sends more than that waits until the next interval. */
function readSteadily(socket: number, onMessage: (message: Message) => void): Unwatch {
  let pause: NodeJS.Timeout | undefined;
  let [began, work] = [monotonic(), 0];
  let unwatch = listen();
  function listen(): Unwatch {
    return watch(socket, { readable: true }, read);
  }
  function read(): void {
    const now = monotonic();
    if (now - began >= INTERVAL_MS) [began, work] = [now, 0];
    while (work < WORK_MAX) {
      const message = receive(socket);
      if (message === null) return;
      for (const fd of message.fds) closeQuietly(fd);
      work += 1 + message.fds.length;
      onMessage(message);
    }
    unwatch();
    pause = setTimeout(() => {
      unwatch = listen();
    }, INTERVAL_MS);
  }
  return () => {
    clearTimeout(pause);
    unwatch();
  };
}

const NOTHING: Notification = { ready: false, status: undefined, stopping: false };

/** Passes on what is new: at once what changes a machine's state, the rest when there has been time for it. */
class News {
  readonly #onNotification: (notification: Notification) => void;
  #pending: Notification = NOTHING;
  #timer: NodeJS.Timeout | undefined;
  #ready = false;
  #stopping = false;

  constructor(onNotification: (notification: Notification) => void) {
    this.#onNotification = onNotification;
  }

  hear({ ready, status, stopping }: Notification): void {
    const changes = (ready && !this.#ready) || (stopping && !this.#stopping);
    this.#ready ||= ready;
    this.#stopping ||= stopping;
    if (!changes && status === undefined) return;
    const before = this.#pending;
    this.#pending = {
      ready: before.ready || ready,
      status: status ?? before.status,
      stopping: before.stopping || stopping,
    };
    if (changes) this.#tell();
    else this.#timer ??= setTimeout(() => this.#tell(), STATUS_INTERVAL_MS);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #tell(): void {
    this.close();
    const news = this.#pending;
    this.#pending = NOTHING;
    this.#onNotification(news);
  }
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
