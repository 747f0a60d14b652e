import { openSync } from "node:fs";
import { expect, test } from "vitest";
import { answerableError, DBusError } from "../../../src/bus/dbus-error.ts";
import { BerthError, UsageError } from "../../../src/errors.ts";
import { SysError } from "../../../src/sys/errno.ts";

/** Node's own. */
function failedOpen(): unknown {
  try {
    return openSync("/nonexistent", "r");
  } catch (error) {
    return error;
  }
}

const STANDARD = "org.freedesktop.DBus.Error";

test.each([
  ["a kind", new BerthError("no", { kind: "NoSuchImage" }), "org.freedesktop.machine1.NoSuchImage"],
  ["busy", new BerthError("no", { kind: "Busy" }), "System.Error.EBUSY"],
  ["no kind", new BerthError("no"), `${STANDARD}.Failed`],
  ["wrong usage", new UsageError("no"), `${STANDARD}.InvalidArgs`],
  ["an errno as a kind", new BerthError("no", { kind: "EROFS" }), "System.Error.EROFS"],
  ["one that the bus has a word for", new BerthError("no", { kind: "ENOENT" }), `${STANDARD}.FileNotFound`],
  ["a system call", new SysError("open", 30), "System.Error.EROFS"],
  ["one with a word", new SysError("open", 13), `${STANDARD}.AccessDenied`],
  ["an errno without a name", new SysError("open", 531), `${STANDARD}.Failed`],
  ["a system call of Node's", failedOpen(), `${STANDARD}.FileNotFound`],
  ["a name of its own", new DBusError("a.b.C", "no"), "a.b.C"],
  [
    "what it was cleaned up after",
    new SuppressedError(new Error("x"), new UsageError("no")),
    `${STANDARD}.InvalidArgs`,
  ],
])("%s", (_, error, name) => {
  expect(answerableError(error)?.name).toBe(name);
});

test("of a bug nobody is told", () => {
  expect(answerableError(new TypeError("x is not a function"))).toBeUndefined();
});

test("one line, without what can't be sent", () => {
  expect(answerableError(new BerthError("a\0b\nmore"))?.text).toBe("a b");
});
