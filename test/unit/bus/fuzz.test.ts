import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { expect, test } from "vitest";
import { encode, type IncomingMessage } from "../../../src/bus/message.ts";
import { MessageReader } from "../../../src/bus/message-reader.ts";
import { generator } from "../../lib/random.ts";
import { checkMessages, damaged, MESSAGE_FILES, randomBody, randomMessages } from "../../lib/random-message.ts";

// The same ones each time; test:long goes on with others.
test("random messages are read, and damaged ones are read or refused, in little time", () => {
  const seen = { read: 0, refused: 0 };
  for (let seed = 0; seed < 3000; seed++) {
    const below = generator(seed);
    const bytes = randomMessages(below);
    expect(checkMessages(bytes, below)).toBe("read");
    seen[checkMessages(damaged(below, bytes), below)]++;
  }
  // Both kinds are met: else it would prove little.
  expect(seen.read).toBeGreaterThan(100);
  expect(seen.refused).toBeGreaterThan(1000);
});

test.for(readdirSync(MESSAGE_FILES))("%s", (file) => {
  const bytes = Buffer.from(readFileSync(new URL(file, MESSAGE_FILES), "utf8"), "hex");
  expect(["read", "refused"]).toContain(checkMessages(bytes, generator(1)));
});

/** Another implementation, which knows nothing of ours. */
const dbusNext = createRequire(import.meta.url);
const { marshallMessage, messageToJsFmt } = dbusNext("dbus-next/lib/marshall-compat.js") as {
  marshallMessage(message: object): [Buffer, number[]];
  messageToJsFmt(message: object): { body: unknown[] };
};
const { unmarshall } = dbusNext("dbus-next/lib/message.js") as { unmarshall(bytes: Buffer): object };

test("dbus-next reads what we write, and we what it writes", () => {
  for (let seed = 0; seed < 2000; seed++) {
    const { signature, body } = randomBody(generator(seed));
    const message = { type: 1, serial: 1 + seed, path: "/a", interface: "a.b", member: "C", signature, body };
    // Its reader wants a body.
    if (signature === "") continue;
    expect(messageToJsFmt(unmarshall(encode(message).bytes)).body).toEqual(body);
    const found: IncomingMessage[] = [];
    const [bytes] = marshallMessage({ ...message });
    new MessageReader().push(bytes, [], (one) => found.push(one));
    expect(found[0]?.header).toMatchObject({ path: "/a", interface: "a.b", member: "C", signature, serial: 1 + seed });
    expect(found[0]?.read()).toEqual(body);
  }
});
