/** Reads of properties that are answered by their bytes: the same answer as in the ordinary way, or none. */
import { describe, expect, test } from "vitest";
import { type Property, property } from "../../../src/bus/interface.ts";
import { KnownReads } from "../../../src/bus/known-reads.ts";
import {
  encode,
  type IncomingMessage,
  METHOD_CALL,
  METHOD_RETURN,
  NO_REPLY_EXPECTED,
} from "../../../src/bus/message.ts";
import { MessageReader } from "../../../src/bus/message-reader.ts";
import { Variant } from "../../../src/bus/values.ts";

const ME = ":1.7";

interface Call {
  readonly serial?: number;
  readonly flags?: number;
  readonly name?: string;
}

/** As a bus passes it on. */
function callOf({ serial = 1, flags = 0, name = "State" }: Call = {}): Buffer {
  const { bytes } = encode({
    ...{ type: METHOD_CALL, serial, flags, destination: ME, path: "/a", interface: "a.Properties", member: "Get" },
    ...{ signature: "ss", body: ["a.b", name] },
  });
  return bytes;
}

function parsed(bytes: Buffer): IncomingMessage {
  const found: IncomingMessage[] = [];
  new MessageReader().push(bytes, [], (message) => found.push(message));
  return found[0] as IncomingMessage;
}

/** They are in a place where more has been before. */
function ask(known: KnownReads, call: Buffer, serial: number): Buffer | undefined {
  return known.answer(Buffer.concat([call, Buffer.from("what came before")]), call.length, serial);
}

function answerOf(type: string, value: unknown, serial: number, replySerial: number): Buffer {
  return encode({ type: METHOD_RETURN, serial, replySerial, signature: "v", body: [new Variant(type, value)] }).bytes;
}

const fixed = property({ type: "s", emits: "const", read: () => "running" });

function knowing(read: Property, isCurrent?: () => boolean, call = callOf()): KnownReads {
  const known = new KnownReads();
  known.learn(parsed(call), { property: read, isCurrent });
  return known;
}

describe("a read that is known", () => {
  test.for([
    ["s", "running"],
    ["o", "/a/b"],
    ["u", 7],
    ["b", false],
    ["t", 2n ** 63n],
    ["i", -1],
  ] as const)("of type %s has the bytes of the ordinary answer", ([type, value]) => {
    const known = knowing({ type, emits: "const", read: () => value, write: undefined });
    for (const [asks, serial] of [
      [2, 11],
      [0xffff_ffff, 0xffff_fffe],
      [3, 12],
    ] as const)
      expect(ask(known, callOf({ serial: asks }), serial)).toEqual(answerOf(type, value, serial, asks));
  });

  test("has the value of this moment", () => {
    let state = "opening";
    const known = knowing(property({ type: "s", emits: "false", read: () => state }));
    for (state of ["opening", "running", "running", "closing and longer", "x"])
      expect(ask(known, callOf(), 5)).toEqual(answerOf("s", state, 5, 1));
  });

  test("stays known where it comes in the ordinary way once more", () => {
    const known = knowing(fixed);
    known.learn(parsed(callOf()), { property: fixed, isCurrent: undefined });
    expect(ask(known, callOf(), 5)).toEqual(answerOf("s", "running", 5, 1));
  });
});

describe("what is not answered, as it is to be looked at:", () => {
  const other = (change: (bytes: Buffer) => unknown): Buffer => {
    const bytes = Buffer.from(callOf());
    change(bytes);
    return bytes;
  };
  test.for([
    ["another property", callOf({ name: "Stats" })],
    ["no reply wanted", callOf({ flags: NO_REPLY_EXPECTED })],
    ["other flags than were seen", callOf({ flags: 2 })],
    ["a serial that is none", other((bytes) => bytes.writeUInt32LE(0, 8))],
    ["another length of the body", other((bytes) => bytes.writeUInt32LE(bytes.readUInt32LE(4) + 8, 4))],
    ["another byte order", other((bytes) => bytes.write("B"))],
    ["another version", other((bytes) => bytes.writeUInt8(2, 3))],
    ["another type", other((bytes) => bytes.writeUInt8(METHOD_RETURN, 1))],
    ["two at a time", Buffer.concat([callOf(), callOf()])],
    ["a part", callOf().subarray(0, 40)],
    ["nothing", Buffer.alloc(0)],
  ] as const)("%s", ([, bytes]) => {
    const known = knowing(fixed);
    expect(ask(known, bytes, 5)).toBeUndefined();
    // Whoever sends it takes nothing from the others, but for the serial.
    if (bytes.length === callOf().length && bytes.readUInt32LE(8) === 0) return;
    expect(ask(known, callOf(), 5)).toBeDefined();
  });

  test.for([
    ["a value that comes later", () => Promise.resolve("running")],
    ["a list, which may be changed in place", () => ["a"]],
    [
      "a read that throws",
      () => {
        throw new Error("no");
      },
    ],
    ["a value of another type", () => 7],
  ] as const satisfies readonly (readonly [string, () => unknown])[])("%s", ([, read]) => {
    const known = knowing({ type: "s", emits: "false", read, write: undefined });
    expect(ask(known, callOf(), 5)).toBeUndefined();
  });

  test("what no longer is what was read, and for good", () => {
    let current = true;
    const known = knowing(fixed, () => current);
    expect(ask(known, callOf(), 5)).toBeDefined();
    current = false;
    expect(ask(known, callOf(), 5)).toBeUndefined();
    current = true;
    expect(ask(known, callOf(), 5)).toBeUndefined();
  });

  test.for([
    ["a call that wants no reply", callOf({ flags: NO_REPLY_EXPECTED })],
    ["one that is long", callOf({ name: "x".repeat(512) })],
  ] as const)("%s is not learned", ([, bytes]) => {
    expect(ask(knowing(fixed, undefined, bytes), bytes, 5)).toBeUndefined();
  });

  test("what was asked long ago, where everybody asks something else; what is asked all the time stays", () => {
    const known = knowing(fixed);
    const learn = (name: string): void =>
      known.learn(parsed(callOf({ name })), { property: fixed, isCurrent: undefined });
    learn("Often");
    for (let index = 0; index < 1000; index++) {
      learn(`N${index}`);
      if (index % 100 === 0) expect(ask(known, callOf({ name: "Often" }), 5)).toBeDefined();
    }
    expect(ask(known, callOf(), 5)).toBeUndefined();
    expect(ask(known, callOf({ name: "N743" }), 5)).toBeUndefined();
    expect(ask(known, callOf({ name: "N999" }), 5)).toBeDefined();
  });

  test("what is gone, also where it was asked before many others", () => {
    let current = true;
    const known = knowing(fixed, () => current);
    for (let index = 0; index < 128; index++)
      known.learn(parsed(callOf({ name: `N${index}` })), { property: fixed, isCurrent: undefined });
    expect(ask(known, callOf(), 5)).toBeDefined();
    current = false;
    expect(ask(known, callOf(), 5)).toBeUndefined();
    current = true;
    expect(ask(known, callOf(), 5)).toBeUndefined();
  });
});
