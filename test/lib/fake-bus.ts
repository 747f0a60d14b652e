/** The other end of a connection to a bus, which says whatever a test wants it to: as a broken or hostile bus would. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { addressOf } from "../../src/bus/address.ts";
import { encode, type IncomingMessage, METHOD_RETURN } from "../../src/bus/message.ts";
import { MessageReader } from "../../src/bus/message-reader.ts";
import { closeQuietly } from "../../src/sys/files.ts";
import { type Unwatch, watch } from "../../src/sys/poll.ts";
import { acceptStream, FdStream, listenStream } from "../../src/sys/unix-stream.ts";

export interface FakeBusScript {
  /** The answer to a line of the handshake; undefined: none. As a bus does unless told. */
  readonly answer?: (line: string) => string | undefined;
  /** For every message after BEGIN. Hello is answered unless told. */
  readonly onMessage?: (message: IncomingMessage, client: FdStream) => void;
}

export interface FakeBus {
  readonly address: string;
  close(): void;
}

export function fakeBus(script: FakeBusScript = {}): FakeBus {
  const directory = mkdtempSync(join(tmpdir(), "berth-test-fake-bus-"));
  const socket = join(directory, "bus");
  const listening = listenStream(socket, 0o600);
  const clients = new Set<FdStream>();
  const unwatch: Unwatch = watch(listening, { readable: true }, () => {
    for (let fd = acceptStream(listening); fd !== null; fd = acceptStream(listening)) clients.add(serve(fd, script));
  });
  return {
    address: addressOf(socket),
    close() {
      unwatch();
      closeQuietly(listening);
      for (const client of clients) client.close();
      rmSync(directory, { recursive: true });
    },
  };
}

const usual = (line: string): string =>
  line.startsWith("AUTH EXTERNAL") ? "OK 0123" : line === "NEGOTIATE_UNIX_FD" ? "AGREE_UNIX_FD" : "ERROR";

export function answerHello(message: IncomingMessage, client: FdStream): void {
  const { serial: replySerial, member } = message.header;
  if (member !== "Hello") return;
  client.write(encode({ type: METHOD_RETURN, serial: 1, replySerial, signature: "s", body: [":1.1"] }).bytes);
}

function serve(fd: number, { answer = usual, onMessage = answerHello }: FakeBusScript): FdStream {
  let text = "";
  let reader: MessageReader | undefined;
  const client = new FdStream(fd, {
    onData(chunk, fds) {
      let bytes = chunk;
      while (!reader) {
        text += bytes.toString("latin1");
        bytes = Buffer.alloc(0);
        const end = text.indexOf("\r\n");
        if (end < 0) return;
        const line = text.slice(0, end).replace("\0", "");
        text = text.slice(end + 2);
        if (line === "BEGIN") {
          reader = new MessageReader();
          bytes = Buffer.from(text, "latin1");
        } else {
          const said = answer(line);
          if (said !== undefined) client.write(Buffer.from(`${said}\r\n`));
        }
      }
      reader.push(bytes, fds, (message) => onMessage(message, client));
    },
    onEnd: () => undefined,
  });
  return client;
}
