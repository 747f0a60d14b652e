/** Lines of the daemon's log, for the journal and for people. */
import { expect, test } from "vitest";
import { forJournal, forPeople, openLog, pinoLevel } from "../../../src/daemon/log.ts";

const LINE = {
  level: 30,
  time: Date.UTC(2026, 0, 2, 3, 4, 5, 6),
  msg: "is taken over",
  machine: "m",
  operation: "start#7",
};

function line(change: object): string {
  return `${JSON.stringify({ ...LINE, ...change })}\n`;
}

test.each([
  [10, 7],
  [20, 7],
  [30, 6],
  [40, 4],
  [50, 3],
  [60, 2],
  [35, 6],
])("level %i has the journal's priority %i", (level, priority) => {
  expect(forJournal(line({ level }))).toBe(`<${priority}>m: is taken over [start#7]\n`);
});

test("for people it has the time and the level in words", () => {
  expect(forPeople(line({}))).toBe("03:04:05.006 info    m: is taken over [start#7]\n");
  expect(forPeople(line({ level: 40, machine: undefined, operation: undefined }))).toBe(
    "03:04:05.006 warning is taken over\n",
  );
});

test("what is said in it does nothing to a terminal, and stays one line", () => {
  for (const format of [forJournal, forPeople]) {
    const text = format(line({ msg: "a\n<0>b\u001b[31m\u009b", machine: "x\ry" }));
    expect(text.match(/\n/g)).toHaveLength(1);
    for (const character of ["\u001b", "\u009b", "\r"]) expect(text).not.toContain(character);
  }
});

test.each([
  ["debug", "trace"],
  ["info", "info"],
  ["notice", "warn"],
  ["warning", "warn"],
  ["err", "error"],
  ["crit", "fatal"],
  ["alert", "silent"],
  ["emerg", "silent"],
] as const)("syslog's level %s is pino's %s", (level, pinos) => {
  expect(pinoLevel(level)).toBe(pinos);
});

test.each([
  [undefined, "info"],
  ["nonsense", "info"],
  ["trace", "debug"],
  ["debug", "debug"],
  ["warn", "warning"],
  ["error", "err"],
  ["fatal", "crit"],
])("with BERTH_LOG_LEVEL=%s it begins with syslog's level %s", (asked, level) => {
  const { control } = openLog(asked === undefined ? {} : { BERTH_LOG_LEVEL: asked });
  expect(control).toMatchObject({ level, target: "auto" });
});
