import { describe, expect, test } from "vitest";
import { loadCredential, setCredential } from "../../../src/config/credentials.ts";
import { unescapeC } from "../../../src/config/unescape.ts";

describe("C-style escapes", () => {
  test.each([
    ["plain ü", Buffer.from("plain ü")],
    ["\\a\\b\\f\\n\\r\\s\\t\\v\\\\\\\"\\'", Buffer.from("\x07\b\f\n\r \t\v\\\"'")],
    ["a\\x00\\xffb", Buffer.of(0x61, 0, 0xff, 0x62)],
    ["\\000\\1011\\377", Buffer.of(0, 0x41, 0x31, 0xff)],
    ["\\u00e4\\U0001f600.", Buffer.from("ä😀.")],
    ["", Buffer.alloc(0)],
  ])("%s", (text, bytes) => {
    expect(unescapeC(text)).toEqual(bytes);
  });

  test.each([
    ["ab\\", 2],
    ["\\q", 0],
    ["x\\x1", 1],
    ["\\400", 0],
    ["\\ud800", 0],
    ["\\U00110000", 0],
  ])("%s is none, and where it is", (text, at) => {
    expect(unescapeC(text)).toBe(at);
  });
});

describe("--set-credential", () => {
  test("may have colons and bytes in its value, which gets into no spec", () => {
    const { credential, secret } = setCredential("api.key:a:b\\xff");
    expect(credential).toEqual({
      value: { id: "api.key", from: { kind: "value", size: 4 } },
      source: { from: "option", option: "--set-credential=api.key:..." },
    });
    expect(secret).toEqual(Buffer.from([...Buffer.from("a:b"), 0xff]));
  });

  test.each([
    ["topsecret", "there is no"],
    [":topsecret", "is empty"],
    ["..:topsecret", "is no file name"],
    ["a/b:topsecret", 'contains "/" or ":"'],
    ["ä:topsecret", "not printable ASCII"],
    [`${"x".repeat(256)}:topsecret`, "longer than 255"],
    ["id:topsecret\\q", "unknown escape at character 10"],
  ])("%s: the error does not tell the secret", (text, message) => {
    expect(() => setCredential(text)).toThrow(message);
    expect(() => setCredential(text)).not.toThrow("topsecret");
  });
});

describe("--load-credential", () => {
  const path = (text: string, directory?: string) => loadCredential(text, directory).credential.value.from;

  test("is a path, or a name below $CREDENTIALS_DIRECTORY, which is the id where there is none", () => {
    expect(path("a:/x:y")).toEqual({ kind: "path", path: "/x:y" });
    expect(path("a:b", "/run/credentials/u")).toEqual({ kind: "path", path: "/run/credentials/u/b" });
    expect(path("a", "/run/credentials/u")).toEqual({ kind: "path", path: "/run/credentials/u/a" });
  });

  test("a name is refused where there are no credentials, or where it leads out of them", () => {
    expect(() => path("a:b")).toThrow("berth itself was given no credentials");
    expect(() => path("a:../b", "/run/credentials/u")).toThrow("no absolute path");
  });
});
