import { closeSync, readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { encode, type IncomingMessage, METHOD_CALL } from "../../../src/bus/message.ts";
import { MessageReader } from "../../../src/bus/message-reader.ts";
import { parseSignature } from "../../../src/bus/signature.ts";
import { Unmarshaller } from "../../../src/bus/unmarshal.ts";
import { Variant, variant } from "../../../src/bus/values.ts";
import { openNull } from "../../../src/sys/files.ts";

const openFds = (): number => readdirSync("/proc/self/fd").length;
const call = (signature: string, body: readonly unknown[]) =>
  encode({ type: METHOD_CALL, serial: 7, path: "/a/b", interface: "a.b", member: "C", signature, body });

function readAll(bytes: Buffer, fds: readonly number[] = []): IncomingMessage[] {
  const found: IncomingMessage[] = [];
  new MessageReader().push(bytes, fds, (message) => found.push(message));
  return found;
}

/** What a body comes back as, from a message that is cut into chunks of one byte. */
function roundTrip(signature: string, body: readonly unknown[]): unknown[] {
  const { bytes, fds } = call(signature, body);
  const found: IncomingMessage[] = [];
  const reader = new MessageReader();
  for (let at = 0; at < bytes.length; at++)
    reader.push(bytes.subarray(at, at + 1), at === 0 ? fds : [], (message) => found.push(message));
  expect(found.length).toBe(1);
  expect(found[0]?.header).toMatchObject({ path: "/a/b", interface: "a.b", member: "C", signature, serial: 7 });
  return found[0]?.read() ?? [];
}

describe("signatures", () => {
  test.for(["", "s", "a{sv}", "aaaas", "(s(ii))", "a(ssso)", "a{s(oa{tv})}h", `${"a".repeat(32)}y`])(
    "%j is one",
    (text) => {
      expect(
        parseSignature(text)
          .map((type) => type.text)
          .join(""),
      ).toBe(text);
    },
  );

  test.for([
    ["a", "ends too early"],
    ["(s", "ends too early"],
    ["()", "empty struct"],
    ["{ss}", "no type"],
    ["a{vs}", "no basic type"],
    ["a{s}", "no type"],
    ["a{sss}", "not of two types"],
    ["e", "no type"],
    ["z", "no type"],
    [`${"a".repeat(33)}y`, "nested too deep"],
    [`${"(".repeat(33)}y${")".repeat(33)}`, "nested too deep"],
    ["s".repeat(256), "longer than 255"],
    ["constructor", "no type"],
  ] as const)("%j is none: %s", ([text, problem]) => {
    expect(() => parseSignature(text)).toThrow(problem);
  });
});

describe("what is sent comes back", () => {
  test.for([
    ["", []],
    ["s", ["Grüße"]],
    ["ybnqiud", [255, true, -32768, 65535, -2147483648, 4294967295, 1.5]],
    ["xt", [-(2n ** 63n), 2n ** 64n - 1n]],
    ["a{us}a{tb}a{bs}", [{ 1: "one", 4294967295: "last" }, { "5": true }, { true: "yes" }]],
    ["as", [Array.from({ length: 3000 }, (_, index) => `a string that makes the buffer grow ${index}`)]],
    ["a{ss}as", [{ one: "1", __proto: "x" }, []]],
    ["a(ssso)", [[["a", "b", "c", "/d"]]]],
    ["ay(iay)", [Buffer.from("bytes"), [2, Buffer.from([10, 0, 0, 1])]]],
    ["ogv", ["/", "a{sv}", new Variant("(sv)", ["in", new Variant("u", 1)])]],
    ["yat", [1, [1n, 2n]]],
    ["a{sv}", [{ Name: variant("s", "web"), Id: variant("ay", Buffer.alloc(16)), Net: variant("ai", [1, 2]) }]],
  ] as const)("%s", ([signature, body]) => {
    expect(roundTrip(signature, body)).toEqual(body);
  });

  test("fds, by their index", () => {
    const before = openFds();
    const [one, two] = [openNull(), openNull()];
    const { bytes, fds } = call("ha(sh)", [two, [["first", one]]]);
    expect(fds).toEqual([two, one]);
    expect(readAll(bytes, fds)[0]?.read()).toEqual([two, [["first", one]]]);
    closeSync(one);
    closeSync(two);
    expect(openFds()).toBe(before);
  });

  test("big-endian", () => {
    const bytes = Buffer.from("0000000568656c6c6f000000000000fe0123456789abcdef", "hex");
    expect(new Unmarshaller(bytes, { little: false }).read("sut")).toEqual(["hello", 254, 0x0123456789abcdefn]);
  });

  test("a key that objects have by themselves", () => {
    const body = Buffer.alloc(40);
    body.writeUInt32LE(26, 0);
    body.writeUInt32LE(9, 8);
    body.write("__proto__", 12);
    body.writeUInt32LE(5, 24);
    body.write("value", 28);
    const [dict] = new Unmarshaller(body.subarray(0, 34), { little: true }).read("a{ss}");
    expect(Object.entries(dict as object)).toEqual([["__proto__", "value"]]);
    expect(Object.getPrototypeOf(dict)).toBe(Object.prototype);
  });
});

test("a variant that holds itself", () => {
  const self = new Variant("v", undefined);
  Object.assign(self, { value: self });
  expect(() => call("v", [self])).toThrow("nested too deep");
  expect(roundTrip("s", ["the next one"])).toEqual(["the next one"]);
});

describe("what would cost us the connection is not sent, and its fds are closed", () => {
  test.for([
    ["ho", "expected an object path", "not/a/path"],
    ["hs", "expected a string without NUL", "a\0b"],
    ["hs", "expected a string", 5],
    ["hv", "expected a Variant", "plain"],
    ["hv", "is not one type", new Variant("ss", "x")],
    ["hu", "expected a whole number from 0 to 4294967295, got -1", -1],
    ["hy", "expected a whole number from 0 to 255", 1.5],
    ["ht", "expected a whole number from 0 to 18446744073709551615", -1n],
    ["hx", "expected a whole number from -9223372036854775808", 2n ** 63n],
    ["hb", "expected a boolean", 1],
    ["hd", "expected a number", "1"],
    ["hg", "ends too early", "(s"],
    ["h(ss)", "expected an array of 2 for (ss)", ["one"]],
    ["has", "expected an array for as", { length: 1 }],
    ["ha{ss}", "expected an object", ["x"]],
    ["ha{ss}", "expected a string", { key: 5 }],
    ["hh", "expected an fd", "5"],
    ["hs", "more than 16777216 bytes", "x".repeat(17 << 20)],
  ] as const)("%s: %s", ([signature, problem, value]) => {
    const before = openFds();
    expect(() => call(signature, [openNull(), value])).toThrow(problem);
    expect(() => call(`${signature}s`, [openNull(), value])).toThrow();
    expect(openFds()).toBe(before);
  });

  test("a member that is none", () => {
    expect(() => encode({ type: METHOD_CALL, serial: 1, path: "/", member: "a-b", signature: "", body: [] })).toThrow(
      "a-b",
    );
  });
});

describe("hostile bodies are refused", () => {
  const u32 = (...values: number[]): Buffer => {
    const bytes = Buffer.alloc(values.length * 4);
    for (const [index, value] of values.entries()) bytes.writeUInt32LE(value, index * 4);
    return bytes;
  };
  test.for([
    ["an array longer than the body", "a(y)", u32(0xffffffff, 0), "an array has 4294967295 bytes"],
    ["an array longer than what is left", "ay", u32(100, 0), "ends too early"],
    ["a string longer than the body", "s", u32(0xfffffff0, 0), "ends too early"],
    ["a string without its end", "s", Buffer.concat([u32(4), Buffer.from("abcde")]), "does not end where it should"],
    ["a NUL in a string", "s", Buffer.concat([u32(2), Buffer.from("a\0\0")]), "does not end where it should"],
    ["a string that is not UTF-8", "s", Buffer.concat([u32(1), Buffer.from([0xff, 0])]), "is not UTF-8"],
    ["a boolean of 2", "b", u32(2), "a boolean is 2"],
    ["an object path without a slash", "o", Buffer.concat([u32(1), Buffer.from("a\0")]), "no object path"],
    ["an fd that did not come", "h", u32(3), "no fd number 3"],
    ["padding with something in it", "yu", Buffer.from([1, 2, 0, 0, 0, 0, 0, 0]), "padding is not zero"],
    ["bytes after the last value", "y", Buffer.from([1, 2]), "1 bytes follow"],
    ["a variant of two types", "v", Buffer.from("\x02yy\0ab"), "is not one type"],
    ["a variant of no type", "v", Buffer.from("\0\0"), "is not one type"],
    [
      "variants in variants without end",
      "v",
      Buffer.concat([Buffer.from("\x01v\0".repeat(100)), Buffer.from("\x01y\0a")]),
      "nested too deep",
    ],
    ["an element that goes beyond its array", "at", u32(12, 0, 1, 1, 1, 1), "goes beyond its end"],
    [
      "more values than anybody needs",
      "ab",
      Buffer.concat([u32(400_400), Buffer.alloc(400_400)]),
      "more than 100000 values",
    ],
  ] as const)("%s", ([, signature, bytes, problem]) => {
    const reader = new Unmarshaller(bytes, { little: true });
    expect(() => {
      reader.read(signature);
      reader.end();
    }).toThrow(problem);
  });
});

describe("hostile messages end the connection", () => {
  const good = call("s", ["x"]).bytes;
  const changed = (at: number, ...bytes: number[]): Buffer => {
    const copy = Buffer.from(good);
    copy.set(bytes, at);
    return copy;
  };
  test.for([
    ["another byte order", changed(0, 0x78), "is no message"],
    ["another version", changed(3, 2), "protocol version 2"],
    ["no type", changed(1, 0), "of type 0 lacks"],
    ["no serial", changed(8, 0), "lacks something"],
    ["a reply that answers nothing", changed(1, 2), "lacks something"],
    ["a body without end", changed(4, 0, 0, 0, 0x7f), "bytes"],
    ["a header without end", changed(12, 0, 0, 0x10, 0), "bytes"],
    ["a field of another type", changed(18, 0x73), "wrong path"],
    ["fds that did not come", call("h", [openNull()]).bytes, "has 1 fds, but 0 came"],
  ] as const)("%s", ([, bytes, problem]) => {
    expect(() => readAll(bytes)).toThrow(problem);
  });

  test("a method call without a member, and one with a body of no type", () => {
    const without = encode({
      type: 4,
      serial: 1,
      path: "/",
      interface: "a.b",
      member: "C",
      signature: "",
      body: [],
    }).bytes;
    without[1] = 1;
    without.writeUInt8(99, without.indexOf("C\0") - 8);
    expect(() => readAll(without)).toThrow("lacks something");
    const untyped = Buffer.concat([
      encode({ type: 1, serial: 1, path: "/", member: "C", signature: "", body: [] }).bytes,
      Buffer.alloc(8),
    ]);
    untyped.writeUInt32LE(8, 4);
    expect(() => readAll(untyped)).toThrow("body of no type");
  });

  test("a call like one that was read before, but for what fills its last word", () => {
    const { bytes } = call("", []);
    expect(readAll(bytes)[0]?.header).toMatchObject({ member: "C", serial: 7 });
    const filled = Buffer.from(bytes);
    filled[filled.length - 1] = 1;
    expect(() => readAll(filled)).toThrow("padding is not zero");
    expect(readAll(bytes)[0]?.header).toMatchObject({ member: "C", serial: 7 });
  });

  test("fds that belong to no message", () => {
    const reader = new MessageReader();
    const before = openFds();
    expect(() => {
      for (let round = 0; round < 10; round++)
        reader.push(Buffer.alloc(0), Array.from({ length: 100 }, openNull), () => undefined);
    }).toThrow("belong to no message");
    reader.close();
    expect(openFds()).toBe(before);
  });
});

test("calls with the same names are told apart by serial, flags and body; answers by caller and signature", () => {
  const message = { type: METHOD_CALL, path: "/a", interface: "a.b", member: "C", signature: "s" };
  const calls = [1, 2, 3].map((serial) => encode({ ...message, serial, flags: serial, body: [`no ${serial}`] }).bytes);
  const found = readAll(Buffer.concat(calls));
  expect(found.map(({ header }) => [header.serial, header.flags])).toEqual([1, 2, 3].map((n) => [n, n]));
  expect(found.map((one) => one.read())).toEqual([["no 1"], ["no 2"], ["no 3"]]);
  const answers = [":1.5", ":1.6", ":1.5"].flatMap((destination, index) =>
    ["s", "o"].map(
      (signature) => encode({ type: 2, serial: 9, replySerial: index + 1, destination, signature, body: ["/x"] }).bytes,
    ),
  );
  expect(readAll(Buffer.concat(answers)).map(({ header: h }) => [h.replySerial, h.destination, h.signature])).toEqual([
    [1, ":1.5", "s"],
    [1, ":1.5", "o"],
    [2, ":1.6", "s"],
    [2, ":1.6", "o"],
    [3, ":1.5", "s"],
    [3, ":1.5", "o"],
  ]);
});

test("each message takes the fds its header counts, and those that are not named are closed", () => {
  const before = openFds();
  const plain = call("s", ["no fd"]).bytes;
  const one = call("h", [openNull()]);
  const two = call("hh", [openNull(), openNull()]);
  const unnamed = call("hh", [openNull(), openNull()]);
  // Both values are index 1.
  unnamed.bytes.writeUInt32LE(1, unnamed.bytes.length - 8);
  const all = Buffer.concat([plain, one.bytes, plain, two.bytes, unnamed.bytes, plain]);
  const messages = readAll(all, [...one.fds, ...two.fds, ...unnamed.fds]);
  expect(messages.map((message) => message.fds.length)).toEqual([0, 1, 0, 2, 2, 0]);
  expect(messages[1]?.read()).toEqual(one.fds);
  expect(messages[3]?.read()).toEqual(two.fds);
  expect(messages[4]?.read()).toEqual([unnamed.fds[1], unnamed.fds[1]]);
  for (const message of messages) message.closeFds();
  expect(openFds()).toBe(before);
});
