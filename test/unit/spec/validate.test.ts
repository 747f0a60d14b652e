import { describe, expect, test } from "vitest";
import { parseUnitFile } from "../../../src/config/unit-file.ts";
import { buildSpec, type SpecInput } from "../../../src/spec/build-spec.ts";
import { showProblem } from "../../../src/spec/problem.ts";

function problems(text: string, more: Partial<SpecInput> = {}): string[] {
  const { assignments } = parseUnitFile(text, "f");
  const root = { value: "/m", source: { from: "default" } } as const;
  const input = { name: "m", root, assignments, options: [], command: [], ...more };
  return buildSpec(input).problems.map(showProblem);
}

describe("bind targets", () => {
  const needed = "lies in a file system that the machine needs for itself";
  test.each([
    ["/", 'bind target "/" would hide the whole tree (the root is set by --directory)'],
    ["//./", 'bind target "/" would hide the whole tree (the root is set by --directory)'],
    ["/proc", `bind target "/proc" ${needed}`],
    ["/proc/", `bind target "/proc" ${needed}`],
    ["/./proc//sys", `bind target "/proc/sys" ${needed}`],
    ["/sys/fs/cgroup", `bind target "/sys/fs/cgroup" ${needed}`],
    ["/dev", `bind target "/dev" ${needed}`],
  ])("%s is refused", (target, what) => {
    expect(problems(`[Files]\nBindReadOnly=/a:${target}`)).toEqual([`f:2:14: ${what}`]);
  });

  test("/tmp/../proc is refused", () => {
    expect(problems("[Files]\nBind=/a:/tmp/../proc")).toEqual(['f:2:9: Bind=: target "/tmp/../proc" contains ".."']);
  });

  test.each(["/dev/fuse", "/procfs", "/mnt/proc", "/run/x", "/..."])("%s is not", (target) => {
    expect(problems(`[Files]\nBind=/a:${target}`)).toEqual([]);
  });

  test("that come twice are warned about", () => {
    expect(problems("[Files]\nBind=/a:/x\nBindReadOnly=/b:/x/\nBind=/c:/x/y")).toEqual([
      'f:3:14: warning: bind target "/x" hides the one of f:2',
    ]);
  });
});

describe("the launch's own system calls", () => {
  test.each(["execve", "capset", "prctl", "close_range", "exit_group"])("%s is needed", (name) => {
    expect(problems(`[Exec]\nSystemCallFilter=~sync ${name}`)).toEqual([
      `f:2:18: ${name} cannot be denied: no machine starts without it`,
    ]);
  });

  test.each([
    ["@process", "prctl"],
    ["@basic-io", "close_range"],
    ["@default", "execve, exit_group"],
    ["@system-service", "execve, capset, prctl, close_range, exit_group"],
  ])("%s holds some of them", (name, needed) => {
    expect(problems(`[Exec]\nSystemCallFilter=~${name}`)).toEqual([
      `f:2:18: ${name} cannot be denied: no machine starts without ${needed} (list those system calls of the group that are meant)`,
    ]);
  });

  test.each(["~@clock", "~execveat", "execve", "@process"])("%s is fine", (filter) => {
    expect(problems(`[Exec]\nSystemCallFilter=${filter}`)).toEqual([]);
  });
});

test("a command is no argument of an init", () => {
  const message =
    '"/bin/sh" becomes an argument of the init, it is not run (with Boot=no or without --boot it is run as PID 1)';
  expect(problems("[Exec]\nBoot=yes\nParameters=/bin/sh")).toEqual([`f:3:12: warning: ${message}`]);
  expect(problems("", { boot: true, command: ["/bin/sh"] })).toEqual([`the command line: warning: ${message}`]);
  expect(problems("[Exec]\nBoot=yes\nParameters=systemd.unit=rescue.target /x")).toEqual([]);
  expect(problems("[Exec]\nParameters=/bin/sh")).toEqual([]);
});

test("idmap needs a user namespace", () => {
  const binds = "[Files]\nBind=/a:/a:idmap\nBind=/b\n";
  expect(problems(binds)).toEqual([]);
  expect(problems(`${binds}[Exec]\nPrivateUsers=no`)).toEqual([
    "f:2:6: warning: idmap has no effect with PrivateUsers=no",
  ]);
});

test("root and command are looked at", () => {
  const root = { value: "m\0", source: { from: "option", option: "--directory" } } as const;
  expect(problems("", { root, command: ["/bin/sh\0"] })).toEqual([
    '--directory: root directory "m\\u{0}" is not an absolute path',
    "--directory: the root directory contains a NUL byte",
    "the command line: an argument of the command contains a NUL byte",
  ]);
});

describe("ranges of users", () => {
  test.each([
    ["4294967294:1", []],
    ["4294901759", []],
    [
      "4294901760",
      [
        "f:2:14: PrivateUsers=: range 4294901760:65536 ends beyond the last user id, expected BASE+SIZE of at most 4294967295",
      ],
    ],
    ["4294967295:1", ["f:2:14: PrivateUsers=: user id 4294967295 is not valid, expected at most 4294967294"]],
    ["9999999999:1", ["f:2:14: PrivateUsers=: user id 9999999999 is not valid, expected at most 4294967294"]],
    ["65536:0", ["f:2:20: PrivateUsers=: the range is empty, expected a size of at least 1"]],
    [
      "65536:9999999999",
      [
        "f:2:14: PrivateUsers=: range 65536:9999999999 ends beyond the last user id, expected BASE+SIZE of at most 4294967295",
      ],
    ],
  ])("%s", (range, expected) => {
    expect(problems(`[Exec]\nPrivateUsers=${range}`)).toEqual(expected);
  });
});

test("a unit that is kept is nobody's to place or limit", () => {
  const option = (text: string) => ({ from: "option", option: text }) as const;
  const slice = { value: "web.slice", source: option("--slice=web") };
  const unitProperties = [{ value: { name: "CPUWeight", value: "10" }, source: option("--property=CPUWeight=10") }];
  const keepUnit = { value: true, source: option("--keep-unit") };
  expect(problems("", { unit: { slice, unitProperties } })).toEqual([]);
  expect(problems("", { unit: { keepUnit } })).toEqual([]);
  const why = "it has no effect with --keep-unit (the kept unit's own Slice= and limits count)";
  expect(problems("", { unit: { keepUnit, slice, unitProperties } })).toEqual([
    `--slice=web: warning: ${why}`,
    `--property=CPUWeight=10: warning: ${why}`,
  ]);
});

test("groups of bound users have no effect without any", () => {
  const group = { value: "wheel", source: { from: "option", option: "--bind-user-group=wheel" } } as const;
  expect(problems("", { bindUserGroups: [group] })).toEqual([
    "--bind-user-group=wheel: warning: it has no effect without BindUser=",
  ]);
  expect(problems("[Files]\nBindUser=alice", { bindUserGroups: [group] })).toEqual([]);
});

describe("a tree that is to stay as it is", () => {
  test.each([
    ["Ephemeral=yes\n[Files]", "an ephemeral machine", "Ephemeral="],
    ["[Files]\nReadOnly=yes", "a read-only machine", "ReadOnly="],
    ["[Files]\nVolatile=overlay", "a volatile machine", "Volatile="],
  ])("%s: is not bound writable", (text, machine, setting) => {
    expect(problems(`[Exec]\n${text}\nBindReadOnly=+/a:/b\nBind=+/a:/c`)).toEqual([
      expect.stringMatching(
        new RegExp(
          `${machine} would write to "/a" of its tree \\(a read-only mount .* without ${setting} a writable one`,
        ),
      ),
    ]);
  });

  test("is read-only or volatile, not both", () => {
    const [first, ...others] = problems("[Files]\nReadOnly=yes\nVolatile=state");
    expect(first).toMatch(/^f:3:10: Volatile=state and ReadOnly=yes exclude each other/);
    expect(others).toEqual([]);
    expect(problems("[Files]\nReadOnly=yes\nVolatile=no")).toEqual([]);
  });

  test("without its /etc there are no users but by number, and those that are bound", () => {
    const of = (user: string, more = "") => problems(`[Exec]\nUser=${user}\n[Files]\nVolatile=yes\n${more}`);
    expect(of("jo")).toEqual([
      expect.stringContaining('with Volatile=yes there is no /etc/passwd that says who "jo" is'),
    ]);
    expect([...of("root"), ...of("1000"), ...of("jo", "BindUser=jo")]).toEqual([]);
  });
});
