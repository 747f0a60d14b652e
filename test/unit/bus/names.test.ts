import { expect, test } from "vitest";
import { addressOf, socketsOf } from "../../../src/bus/address.ts";
import { fits, ruleText } from "../../../src/bus/match-rule.ts";
import {
  escapeElement,
  isBusName,
  isInterface,
  isMember,
  isObjectPath,
  unescapeElement,
} from "../../../src/bus/names.ts";

// As sd_bus_path_encode(3) does it.
test.for([
  ["web", "web"],
  ["a-b.c", "a_2db_2ec"],
  ["1st", "_31st"],
  ["", "_"],
  ["a_b", "a_5fb"],
  [".host", "_2ehost"],
  ["ü", "_c3_bc"],
] as const)("the path element of %j is %s, and back", ([name, element]) => {
  expect(escapeElement(name)).toBe(element);
  expect(unescapeElement(element)).toBe(name);
});

test("elements that nothing is escaped as", () => {
  expect([unescapeElement("a_"), unescapeElement("a_2"), unescapeElement("a_zz")]).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
});

test("names are what the specification says", () => {
  expect(["/", "/a", "/a/b_1"].every(isObjectPath)).toBe(true);
  expect(["", "a", "//", "/a/", "/a-b", "/a//b"].some(isObjectPath)).toBe(false);
  expect(["a.b", "org.berth.X_1"].every(isInterface)).toBe(true);
  expect(["a", ".a.b", "a.1", "a-b.c", `a.${"b".repeat(255)}`].some(isInterface)).toBe(false);
  expect(["Get", "_x1"].every(isMember)).toBe(true);
  expect(["", "1a", "a.b", "a-b"].some(isMember)).toBe(false);
  expect([":1.5", "org.a-b.c"].every(isBusName)).toBe(true);
  expect(["a", ":", "1.a", "a..b"].some(isBusName)).toBe(false);
});

test.for([
  ["unix:path=/run/bus", ["/run/bus"]],
  ["unix:path=/a%20b%c3%bc,guid=123", ["/a bü"]],
  ["unix:abstract=/tmp/x", ["\0/tmp/x"]],
  ["tcp:host=localhost;unix:path=/a;unix:path=/b", ["/a", "/b"]],
] as const)("the sockets of %s", ([address, sockets]) => {
  expect(socketsOf(address)).toEqual(sockets);
});

test.for([
  ["", "names no unix socket"],
  ["tcp:host=localhost", "names no unix socket"],
  ["/run/bus", "no transport"],
  ["unix:path", "in the place of KEY=VALUE"],
  ["unix:path=/a%2", "without two hexadecimal digits"],
] as const)("%j is no address: %s", ([address, problem]) => {
  expect(() => socketsOf(address)).toThrow(problem);
});

test("the address of any path leads back to it", () => {
  const path = "/run/a b;c,d%e=ü/bus";
  expect(socketsOf(addressOf(path))).toEqual([path]);
});

test("match rules: their text, and what fits them", () => {
  expect(ruleText({ member: "X", arg0: "it's" })).toBe("type='signal',member='X',arg0='it'\\''s'");
  const header = { type: 4, flags: 0, serial: 1, signature: "s", path: "/a/b", interface: "a.b", member: "X" };
  const fit = (rule: Parameters<typeof fits>[0]): boolean => fits(rule, header, () => "first");
  expect(
    [{}, { path: "/a/b" }, { pathNamespace: "/a" }, { pathNamespace: "/" }, { pathNamespace: "/a/b" }].every(fit),
  ).toBe(true);
  expect([{ member: "X", arg0: "first" }, { interface: "a.b" }].every(fit)).toBe(true);
  expect([{ path: "/a" }, { pathNamespace: "/a/" }, { pathNamespace: "/a/bc" }, { arg0: "other" }].some(fit)).toBe(
    false,
  );
  expect([{ interface: "a.c" }, { member: "Y" }].some(fit)).toBe(false);
});
