import { constants } from "node:os";
import { expect, test } from "vitest";
import { signalName, signalNumber } from "../../../src/spec/signals.ts";

// What systemd-nspawn 252 takes and refuses for KillSignal=.
test.each([
  ["TERM", 15],
  ["SIGTERM", 15],
  ["15", 15],
  ["SIGSTKFLT", 16],
  ["SIGRTMIN", 34],
  ["RTMIN+3", 37],
  ["RTMIN+03", 37],
  ["SIGRTMIN+30", 64],
  ["SIGRTMAX", 64],
  ["SIGRTMAX-2", 62],
  ["RTMAX-30", 34],
  ["64", 64],
  ["33", 33],
  ["sigterm", undefined],
  ["SIGRTMIN+31", undefined],
  ["RTMAX-31", undefined],
  ["SIGRTMIN3", undefined],
  ["SIGRTMIN+ 3", undefined],
  ["SIGRTMIN-1", undefined],
  ["SIGRTMAX+1", undefined],
  ["0", undefined],
  ["65", undefined],
  ["-1", undefined],
  ["SIG15", undefined],
  ["SIGCLD", undefined],
  ["SIGPOLL", undefined],
  ["", undefined],
  ["SIG", undefined],
  ["__proto__", undefined],
])("%j is %s", (text, number) => {
  expect(signalNumber(text)).toBe(number);
});

test("numbers are this kernel's", () => {
  const known = Object.entries(constants.signals).filter(([name]) => signalNumber(name) !== undefined);
  expect(known.length).toBeGreaterThan(28);
  for (const [name, number] of known) expect([name, signalNumber(name)]).toEqual([name, number]);
});

test("names and numbers are each other's inverse", () => {
  for (let number = 1; number <= 64; number++) expect(signalNumber(signalName(number))).toBe(number);
  expect([signalName(37), signalName(34), signalName(9), signalName(32)]).toEqual([
    "SIGRTMIN+3",
    "SIGRTMIN",
    "SIGKILL",
    "32",
  ]);
});
