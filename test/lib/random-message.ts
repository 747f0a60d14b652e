/** D-Bus messages nobody thought of: made of random types and values, then damaged. Each is made again from its seed. */
import { encode, type IncomingMessage } from "../../src/bus/message.ts";
import { MessageReader } from "../../src/bus/message-reader.ts";
import { parseSingle, type Type } from "../../src/bus/signature.ts";
import { Variant } from "../../src/bus/values.ts";
import type { generator } from "./random.ts";

type Below = ReturnType<typeof generator>;

/** What was found once, in hexadecimal: one stream of messages a file. */
export const MESSAGE_FILES = new URL("../fuzz/bus/", import.meta.url);

/** Reading takes a time that grows with the bytes: these are a few hundred. */
const MOST_MS = 250;

export function randomMessages(below: Below): Buffer {
  return Buffer.concat(Array.from({ length: 1 + below(3) }, () => randomMessage(below)));
}

/** One to eight bytes changed, some cut out, or some put in. */
export function damaged(below: Below, bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  const interesting = [0, 1, 2, 7, 8, 0x28, 0x61, 0x73, 0x76, 0x7f, 0x80, 0xff];
  for (let times = 1 + below(8); times > 0; times--)
    copy[below(copy.length)] = below(2) === 0 ? below(256) : (interesting[below(interesting.length)] ?? 0);
  const [from, length] = [below(copy.length), below(16)];
  switch (below(4)) {
    case 0:
      return Buffer.concat([copy.subarray(0, from), copy.subarray(from + length)]);
    case 1:
      return Buffer.concat([copy.subarray(0, from), Buffer.alloc(length, below(256)), copy.subarray(from)]);
    default:
      return copy;
  }
}

/** Reads them as a connection does. @throws Error when anything but "read" or "refused with a sentence" happens */
export function checkMessages(bytes: Buffer, below: Below): "read" | "refused" {
  // Of the processor alone: others may have it meanwhile.
  const began = process.cpuUsage();
  const found: IncomingMessage[] = [];
  let outcome: "read" | "refused" = "read";
  try {
    const reader = new MessageReader();
    for (let at = 0; at < bytes.length; ) {
      const size = 1 + below(200);
      reader.push(bytes.subarray(at, at + size), [], (message) => found.push(message));
      at += size;
    }
    for (const message of found) message.read();
  } catch (error) {
    outcome = "refused";
    // Others are mistakes of ours: a value that is used before it is looked at, or a stack that was too small.
    if (!(error instanceof Error) || error instanceof TypeError || error instanceof RangeError) throw error;
  }
  const { user, system } = process.cpuUsage(began);
  const took = (user + system) / 1e3;
  if (took > MOST_MS) throw new Error(`${bytes.length} bytes took ${took} ms`);
  return outcome;
}

/** A signature, and values of it. */
export function randomBody(below: Below): { signature: string; body: unknown[] } {
  const types = Array.from({ length: below(5) }, () => parseSingle(randomType(below, 0)));
  return { signature: types.map((type) => type.text).join(""), body: types.map((type) => randomValue(below, type)) };
}

function randomMessage(below: Below): Buffer {
  const message = {
    type: 1 + below(4),
    serial: 1 + below(1000),
    path: "/org/berth/x",
    interface: "org.berth.X",
    member: "Member",
    errorName: "org.berth.Error",
    replySerial: 5,
    ...randomBody(below),
  };
  return encode(message).bytes;
}

function randomType(below: Below, depth: number): string {
  const basic = "ybnqiuxtdsog";
  const choice = depth > 3 ? 0 : below(8);
  if (choice === 5) return `a${randomType(below, depth + 1)}`;
  if (choice === 6) return `(${randomType(below, depth + 1)}${randomType(below, depth + 1)})`;
  if (choice === 7) return `a{s${randomType(below, depth + 1)}}`;
  return choice === 4 ? "v" : (basic[below(basic.length)] ?? "s");
}

function randomValue(below: Below, type: Type): unknown {
  switch (type.code) {
    case "a": {
      const [element] = type.child as [Type];
      if (element.code === "y") return Buffer.alloc(below(20), below(256));
      const count = below(4);
      if (element.code !== "{") return Array.from({ length: count }, () => randomValue(below, element));
      const value = element.child[1] as Type;
      return Object.fromEntries(
        Array.from({ length: count }, (_, index) => [`key${index}`, randomValue(below, value)]),
      );
    }
    case "(":
      return type.child.map((member) => randomValue(below, member));
    case "v": {
      const inner = randomType(below, 3);
      return new Variant(inner, randomValue(below, parseSingle(inner)));
    }
    case "b":
      return below(2) === 1;
    case "s":
      return "é".repeat(below(10));
    case "o":
      return below(2) === 0 ? "/" : "/org/berth";
    case "g":
      return "a{sv}";
    case "d":
      return below(1000) / 8;
    case "x":
    case "t":
      return BigInt(below(2 ** 32));
    default:
      return below(128);
  }
}
