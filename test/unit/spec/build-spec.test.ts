import { describe, expect, test } from "vitest";
import type { OptionAssignment } from "../../../src/config/setting.ts";
import { assignOption, COMMAND_OPTIONS, optionName } from "../../../src/config/settings.ts";
import { parseUnitFile } from "../../../src/config/unit-file.ts";
import { buildSpec, type SpecInput } from "../../../src/spec/build-spec.ts";
import type { MachineSpec } from "../../../src/spec/machine-spec.ts";
import { showProblem } from "../../../src/spec/problem.ts";
import { showSource } from "../../../src/spec/source.ts";

/** Builds a machine of settings (`[Exec]` first) and options such as `--bind=/srv`. */
function build(text: string, options: readonly string[] = [], more: Partial<SpecInput> = {}) {
  const { assignments, problems } = parseUnitFile(`[Exec]\n${text}`, "m.nspawn");
  return buildSpec({
    name: "m",
    root: { value: "/var/lib/machines/m", source: { from: "default" } },
    assignments,
    problems,
    options: options.map(typed),
    command: [],
    ...more,
  });
}

function typed(text: string): OptionAssignment {
  const [name = "", ...value] = text.split("=");
  const option = COMMAND_OPTIONS.find(({ form }) => optionName(form) === name);
  if (option === undefined) throw new Error(`no option ${name}`);
  return assignOption(option, value.length === 0 ? undefined : value.join("="));
}

function spec(...input: Parameters<typeof build>): MachineSpec {
  const { spec, problems } = build(...input);
  if (spec === undefined) throw new Error(problems.map(showProblem).join("\n"));
  return spec;
}

function problems(...input: Parameters<typeof build>): string[] {
  return build(...input).problems.map(showProblem);
}

describe("defaults", () => {
  test("are nspawn's, but a user and a network namespace of its own", () => {
    const byDefault = { source: { from: "default" } };
    expect(build("")).toEqual({
      problems: [],
      spec: {
        processTwo: { ...byDefault, value: false },
        ambientCapabilities: [],
        user: { ...byDefault, value: "root" },
        suppressSync: { ...byDefault, value: false },
        addressFamilies: [],
        workingDirectory: { ...byDefault, value: undefined },
        noNewPrivileges: { ...byDefault, value: false },
        personality: { ...byDefault, value: undefined },
        oomScoreAdjust: { ...byDefault, value: 0 },
        cpuAffinity: [],
        limits: [],
        name: "m",
        root: { value: "/var/lib/machines/m", ...byDefault },
        boot: { value: false, ...byDefault },
        command: { value: [], ...byDefault },
        environment: [],
        hostname: { value: "m", ...byDefault },
        machineId: { value: undefined, ...byDefault },
        killSignal: { value: undefined, ...byDefault },
        notifyReady: { value: false, ...byDefault },
        capabilities: [],
        systemCallFilter: [],
        privateUsers: { value: { mode: "pick" }, ...byDefault },
        ownership: { value: "auto", ...byDefault },
        privateNetwork: { value: true, ...byDefault },
        temporaryFileSystems: [],
        linkJournal: { ...byDefault, value: "auto" },
        overlays: [],
        inaccessible: [],
        bindUsers: [],
        bindUserGroups: [],
        bindUserShell: { value: false, ...byDefault },
        networkNamespace: { value: undefined, ...byDefault },
        ephemeral: { value: false, ...byDefault },
        readOnly: { value: false, ...byDefault },
        volatile: { value: "no", ...byDefault },
        pivotRoot: { value: undefined, ...byDefault },
        resolvConf: { value: "auto", ...byDefault },
        timezone: { value: "auto", ...byDefault },
        binds: [],
        console: { value: "auto", ...byDefault },
        credentials: [],
        selinuxContext: { value: undefined, ...byDefault },
        selinuxApifsContext: { value: undefined, ...byDefault },
        keepUnit: { value: false, ...byDefault },
        slice: { value: "machine.slice", ...byDefault },
        unitProperties: [],
        restart: { value: "no", ...byDefault },
        restartDelay: { value: 100, ...byDefault },
        startBurst: { value: 5, ...byDefault },
        startInterval: { value: 10_000, ...byDefault },
        startTimeout: { value: 90_000, ...byDefault },
        stopTimeout: { value: 90_000, ...byDefault },
      },
    });
  });

  test("of boot are the verb's", () => {
    expect(spec("", [], { boot: true }).boot).toEqual({ value: true, source: { from: "default" } });
    expect(spec("Boot=no", [], { boot: true }).boot.value).toBe(false);
  });
});

/** The settings that are in effect: a good value and what it means, a bad one and what is said of it. */
describe("each setting", () => {
  test.each<[string, (spec: MachineSpec) => unknown, unknown]>([
    ["Boot=on", (s) => s.boot.value, true],
    ["Ephemeral=T", (s) => s.ephemeral.value, true],
    ["NotifyReady=1", (s) => s.notifyReady.value, true],
    ['Parameters=/bin/sh -c "echo hi"', (s) => s.command.value, ["/bin/sh", "-c", "echo hi"]],
    [
      "Environment=A=1 'B=x y'",
      (s) => s.environment.map((e) => e.value),
      [
        { name: "A", value: "1" },
        { name: "B", value: "x y" },
      ],
    ],
    ["Capability=CAP_BPF 25", (s) => s.capabilities[0]?.value, { change: "add", names: ["CAP_BPF", "CAP_SYS_TIME"] }],
    ["Capability=CAP_BPF all", (s) => s.capabilities[0]?.value, { change: "add", names: "all" }],
    ["DropCapability=cap_kill", (s) => s.capabilities[0]?.value, { change: "drop", names: ["CAP_KILL"] }],
    ["KillSignal=RTMIN+4", (s) => s.killSignal.value, 38],
    ["MachineID=01234567-89AB-cdef-0123-456789abcdef", (s) => s.machineId.value, "0123456789abcdef0123456789abcdef"],
    ["PrivateUsers=no", (s) => s.privateUsers.value, { mode: "no" }],
    ["PrivateUsers=on", (s) => s.privateUsers.value, { mode: "yes" }],
    ["[Files]\nPrivateUsersOwnership=map", (s) => s.ownership.value, "map"],
    ["[Files]\nPrivateUsersOwnership=1", (s) => s.ownership.value, "auto"],
    ["[Files]\nPrivateUsersChown=yes", (s) => s.ownership.value, "chown"],
    ["[Files]\nPrivateUsersOwnership=map\nPrivateUsersChown=no", (s) => s.ownership.value, "off"],
    ["PrivateUsers=identity", (s) => s.privateUsers.value, { mode: "identity" }],
    ["PrivateUsers=524288", (s) => s.privateUsers.value, { mode: "range", base: 524288, size: 65536 }],
    ["PrivateUsers=0:1", (s) => s.privateUsers.value, { mode: "range", base: 0, size: 1 }],
    [
      "SystemCallFilter=@keyring bpf",
      (s) => s.systemCallFilter[0]?.value,
      { change: "allow", names: ["@keyring", "bpf"] },
    ],
    ["SystemCallFilter=~ swapon", (s) => s.systemCallFilter[0]?.value, { change: "deny", names: ["swapon"] }],
    ["Hostname=web.example.org", (s) => s.hostname.value, "web.example.org"],
    ["ResolvConf=bind-stub", (s) => s.resolvConf.value, "bind-stub"],
    ["ResolvConf=no", (s) => s.resolvConf.value, "off"],
    ["Timezone=yes", (s) => s.timezone.value, "auto"],
    ["[Network]\nPrivate=no", (s) => s.privateNetwork.value, false],
    ["[Files]\nReadOnly=1", (s) => s.readOnly.value, true],
    ["PivotRoot=/a//b/:/c", (s) => s.pivotRoot.value, { newRoot: "/a/b", oldRoot: "/c" }],
    ["PivotRoot=/a:", (s) => s.pivotRoot.value, { newRoot: "/a", oldRoot: null }],
    ["[Files]\nVolatile=true", (s) => s.volatile.value, "yes"],
    ["[Files]\nVolatile=state", (s) => s.volatile.value, "state"],
    [
      "[Files]\nBind=/a:/b:norbind,idmap",
      (s) => s.binds[0]?.value,
      { source: "/a", fromRoot: false, target: "/b", readOnly: false, recursive: false, idmap: "idmap" },
    ],
    [
      "[Files]\nBindReadOnly=+/a",
      (s) => s.binds[0]?.value,
      { source: "/a", fromRoot: true, target: "/a", readOnly: true, recursive: true, idmap: "noidmap" },
    ],
  ])("%s", (text, value, expected) => {
    expect(value(spec(text))).toEqual(expected);
  });

  test.each([
    ["Boot=maybe", 'm.nspawn:2:6: Boot=: "maybe" is no boolean, expected yes or no'],
    ["Ephemeral = 2", 'm.nspawn:2:13: Ephemeral=: "2" is no boolean, expected yes or no'],
    ["NotifyReady=ja", 'm.nspawn:2:13: NotifyReady=: "ja" is no boolean, expected yes or no'],
    ["Parameters=a 'b", "m.nspawn:2:14: Parameters=: quote ' is not closed"],
    [
      "Environment=A=1 1B=2",
      'm.nspawn:2:17: Environment=: invalid environment variable name "1B", expected letters, digits and _, no digit first',
    ],
    [
      "Capability=CAP_KILL \\\n  CAP_FOO",
      'm.nspawn:3:3: Capability=: unknown capability "CAP_FOO", expected a capability name such as CAP_NET_ADMIN, or all',
    ],
    [
      "DropCapability=41",
      'm.nspawn:2:16: DropCapability=: unknown capability "41", expected a capability name such as CAP_NET_ADMIN, or all',
    ],
    [
      "KillSignal=TREM",
      'm.nspawn:2:12: KillSignal=: unknown signal "TREM", expected a signal such as SIGTERM, SIGRTMIN+3 or 15 (did you mean SIGTERM?)',
    ],
    ["MachineID=0", 'm.nspawn:2:11: MachineID=: "0" is no machine id, expected 32 hex digits or a UUID'],
    [
      "PrivateUsers=1:2:3",
      'm.nspawn:2:14: PrivateUsers=: "1:2:3" is no range of users, expected yes, no, pick, identity, BASE or BASE:SIZE',
    ],
    [
      "PrivateUsers=managed",
      "m.nspawn:2:14: PrivateUsers=managed is of machines without privileges, whose ranges systemd-nsresourced gives out, " +
        "expected yes, no, pick, identity, BASE or BASE:SIZE (berth runs as root and gives out ranges itself: that is pick)",
    ],
    [
      "SystemCallFilter=~ptracee",
      'm.nspawn:2:19: SystemCallFilter=: unknown system call "ptracee" (did you mean ptrace?)',
    ],
    [
      "SystemCallFilter=@aio ~@mount",
      'm.nspawn:2:23: SystemCallFilter=: a "~" stands only at the beginning of a value, not in "~@mount" ' +
        "(what is denied has a line of its own, which begins with ~)",
    ],
    [
      "[Files]\nBind=/a:/b:ro",
      'm.nspawn:3:12: Bind=: unknown bind option "ro", expected rbind, norbind, noidmap, idmap, rootidmap, owneridmap ' +
        "(BindReadOnly=, or --bind-ro=, is read-only)",
    ],
    [
      "[Network]\nNamespacePath=rel",
      'm.nspawn:3:15: NamespacePath=: path "rel" is not absolute, expected a path that starts with /',
    ],
    [
      "Hostname=a_b",
      'm.nspawn:2:10: Hostname=: host name "a_b" has a part with other characters than letters, digits and "-", expected a name such as web or web.example.org',
    ],
    [
      "Timezone=bnd",
      'm.nspawn:2:10: Timezone=: unknown value "bnd", expected off, copy, bind, symlink, delete or auto (did you mean bind?)',
    ],
    ["[Network]\nPrivate=x", 'm.nspawn:3:9: Private=: "x" is no boolean, expected yes or no'],
    ["[Files]\nBind=/a:b", 'm.nspawn:3:9: Bind=: target "b" is not absolute, expected a path that starts with /'],
    [
      "[Files]\nBindReadOnly=a:/b",
      'm.nspawn:3:14: BindReadOnly=: source "a" is not absolute, expected a path that starts with /',
    ],
    [
      "[Files]\nBind=/x:/a\nBind=/x:/a/b:owneridmap",
      'm.nspawn:4:6: owneridmap: "/a/b" is no place of the tree\'s own, but lies in "/a" (rootidmap makes the source root\'s)',
    ],
    [
      "[Network]\nZone=a\nZone=b",
      "m.nspawn:4:6: Zone= is not in effect yet in this version of berth (it comes with networking)",
    ],
  ])("%s", (text, expected) => {
    expect(problems(text)).toEqual([expected]);
    expect(build(text).spec).toBeUndefined();
  });

  test("that is not known is warned about and leaves the machine", () => {
    const text = "Boots=yes\n[Exce]\nA=1\nB=2\n[Files]\nTimezone=off\n[X-A]\nB=1";
    expect(problems(text)).toEqual([
      'm.nspawn:2:7: warning: unknown setting "Boots" in [Exec] (did you mean Boot=?)',
      'm.nspawn:4:3: warning: unknown section "Exce" (did you mean Exec?)',
      'm.nspawn:7:10: warning: unknown setting "Timezone" in [Files] (it belongs in [Exec])',
    ]);
    expect(build(text).spec).toBeDefined();
  });
});

describe("files and options together", () => {
  test("options win for one value, add to lists", () => {
    const { hostname, environment, binds } = spec("Hostname=a\nEnvironment=A=1 B=2\n[Files]\nBind=/a", [
      "--hostname=b",
      "--setenv=B=3",
      "--bind-ro=/b",
    ]);
    expect(hostname).toEqual({ value: "b", source: { from: "option", option: "--hostname=b" } });
    expect(environment.map(({ value, source }) => `${value.name}=${value.value} ${showSource(source)}`)).toEqual([
      "A=1 m.nspawn:3",
      "B=3 --setenv=B=3",
    ]);
    expect(binds.map(({ value }) => `${value.target} ${value.readOnly}`)).toEqual(["/a false", "/b true"]);
  });

  test("later files win over earlier ones; an empty value takes all back", () => {
    const base = parseUnitFile("[Exec]\nHostname=a\nCapability=all\nTimezone=off\nPrivateUsers=no", "m.nspawn");
    const dropIn = parseUnitFile("[Exec]\nHostname=b\nCapability=\nPrivateUsers=", "m.nspawn.d/x.conf");
    const { hostname, capabilities, timezone, privateUsers } = spec("", [], {
      assignments: [...base.assignments, ...dropIn.assignments],
    });
    expect([hostname.value, showSource(hostname.source)]).toEqual(["b", "m.nspawn.d/x.conf:2"]);
    expect([capabilities, timezone.value, privateUsers]).toEqual([
      [],
      "off",
      { value: { mode: "pick" }, source: { from: "default" } },
    ]);
    expect(spec("[Files]\nBind=/a", ["--bind=", "--bind=/b"]).binds.map(({ value }) => value.target)).toEqual(["/b"]);
  });

  test("binds keep the order they were written in", () => {
    const text = "[Files]\nBindReadOnly=/1\nBind=/2\nBindReadOnly=/3";
    expect(spec(text, ["--bind=/4"]).binds.map(({ value }) => value.target)).toEqual(["/1", "/2", "/3", "/4"]);
  });

  test("additions come before drops, allowances before denials", () => {
    const { capabilities, systemCallFilter } = spec(
      "DropCapability=CAP_KILL\nCapability=CAP_KILL\nSystemCallFilter=~bpf\nSystemCallFilter=bpf",
      ["--capability=CAP_BPF,CAP_KILL"],
    );
    expect(capabilities.map(({ value }) => value.change)).toEqual(["add", "add", "drop"]);
    expect(systemCallFilter.map(({ value }) => value.change)).toEqual(["allow", "deny"]);
  });

  test("a relative source is an option's only, from where it was given", () => {
    const { binds } = spec("", ["--bind=x/../y:/z", "--bind=.:/here", "--bind=+/in:/out"], { directory: "/home/me" });
    expect(binds.map(({ value }) => value.source)).toEqual(["/home/me/y", "/home/me", "/in"]);
    expect(problems("", ["--bind=x"])).toEqual([
      '--bind=x: Bind=: target "x" is not absolute, expected a path that starts with /',
    ]);
  });

  test("the command line replaces Parameters=, with a command or a way to start", () => {
    const text = "Parameters=/bin/a b\nParameters=c";
    expect(spec(text).command).toMatchObject({ value: ["/bin/a", "b", "c"], source: { line: 2 } });
    const typed = { value: ["x y", "$z"], source: { from: "option", option: "the command line" } };
    expect(spec(text, [], { command: ["x y", "$z"] }).command).toEqual(typed);
    expect(spec(text, ["--boot"]).command.value).toEqual([]);
  });

  test("an option that is not known is an error", () => {
    const option = { section: "Exec", key: "LimitFOO", value: "1", option: "--rlimit=FOO=1" };
    expect(problems("", [], { options: [option] })).toEqual(['--rlimit=FOO=1: unknown setting "LimitFOO" in [Exec]']);
  });
});

describe("values are data", () => {
  test("an option's value is not split, unquoted or continued", () => {
    const value = "a  \"b'\\\n[Exec]\nBoot=yes\n#";
    expect(spec("", [`--setenv=A=${value}`]).environment.map((each) => each.value)).toEqual([{ name: "A", value }]);
    expect(spec("", [`--setenv=A=${value}`]).boot.value).toBe(false);
  });

  test("names that objects have by nature are names like any other", () => {
    const { environment } = spec("Environment=__proto__=1 constructor=2\n__proto__=x\n[__proto__]\nBoot=1");
    expect(environment.map(({ value }) => value.name)).toEqual(["__proto__", "constructor"]);
    expect(Object.hasOwn(Object.prototype, "Boot")).toBe(false);
  });

  test("NUL bytes, which only an option can bring, are refused", () => {
    expect(problems("", ["--bind=/a\0/b", "--setenv=A=\0"])).toEqual([
      "--bind=/a\\u{0}/b: Bind= contains a NUL byte",
      "--setenv=A=\\u{0}: Environment= contains a NUL byte",
    ]);
  });
});

describe("problems", () => {
  test("are all found, in the order of files, lines and options", () => {
    const text = "Hostname=-\nTimezone=x\nnonsense\n[Files]\nBind=/a:/\nBoot=1\nVolatile=x";
    const file = { value: "relative", source: { from: "option", option: "--directory=relative" } } as const;
    const shown = problems(text, ["--kill-signal=x"], { name: "a..b", root: file });
    expect(shown.map((line) => line.replace(/: .*/, ""))).toEqual([
      "m.nspawn:2:10",
      "m.nspawn:3:10",
      "m.nspawn:4:1",
      "m.nspawn:6:6",
      "m.nspawn:7:6",
      "m.nspawn:8:10",
      "--kill-signal=x",
      "--directory=relative",
      'machine name "a..b" may not contain ".." (a.b would do)',
    ]);
  });

  test("of reading the files count: an error among them leaves no spec", () => {
    expect(build("Boot=no\n[Network").spec).toBeUndefined();
    expect(build("Boot=no\nnonsense").spec).toBeDefined();
  });
});
