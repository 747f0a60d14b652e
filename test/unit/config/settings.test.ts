import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { tableDefault } from "../../../src/config/assigned.ts";
import { assignOption, COMMAND_OPTIONS, findSetting, optionName, SETTINGS } from "../../../src/config/settings.ts";
import { parseUnitFile } from "../../../src/config/unit-file.ts";
import { buildSpec } from "../../../src/spec/build-spec.ts";

/** systemd.nspawn(5) of systemd 257, then NamespacePath= (259), and what 258 and 261 added; [Machine] is our own. */
const KEYS = {
  Exec: `Boot Ephemeral ProcessTwo Parameters Environment User WorkingDirectory PivotRoot Capability DropCapability
    AmbientCapability NoNewPrivileges KillSignal Personality MachineID PrivateUsers NotifyReady SystemCallFilter
    LimitCPU LimitFSIZE LimitDATA LimitSTACK LimitCORE LimitRSS LimitNOFILE LimitAS LimitNPROC LimitMEMLOCK LimitLOCKS
    LimitSIGPENDING LimitMSGQUEUE LimitNICE LimitRTPRIO LimitRTTIME OOMScoreAdjust CPUAffinity Hostname ResolvConf
    Timezone LinkJournal SuppressSync RestrictAddressFamilies`,
  Files: `ReadOnly Volatile Bind BindReadOnly BindUser TemporaryFileSystem Inaccessible Overlay OverlayReadOnly
    PrivateUsersOwnership PrivateUsersChown BindUserShell`,
  Machine: `Restart RestartSec StartLimitBurst StartLimitIntervalSec TimeoutStartSec TimeoutStopSec`,
  Network: `Private VirtualEthernet VirtualEthernetExtra Interface MACVLAN IPVLAN Bridge Zone Port NamespacePath`,
};
const LIMITS = KEYS.Exec.split(/\s+/)
  .filter((key) => key.startsWith("Limit"))
  .join(" ");
const IN_EFFECT = `Boot Parameters Environment Hostname MachineID KillSignal NotifyReady Capability DropCapability
  PrivateUsers PrivateUsersOwnership PrivateUsersChown NamespacePath BindUser BindUserShell TemporaryFileSystem Inaccessible Overlay OverlayReadOnly LinkJournal
  SystemCallFilter Private Bind BindReadOnly Ephemeral ResolvConf Timezone
  ReadOnly Volatile PivotRoot ProcessTwo User AmbientCapability SuppressSync RestrictAddressFamilies WorkingDirectory NoNewPrivileges Personality OOMScoreAdjust CPUAffinity ${LIMITS} ${KEYS.Machine}`;
const SAFE = `Boot ProcessTwo Parameters Environment User WorkingDirectory DropCapability NoNewPrivileges KillSignal
  Personality NotifyReady Hostname ResolvConf Timezone SuppressSync ReadOnly Volatile`;
/** The options of systemd-nspawn(1) that have a setting. */
const OPTIONS = `--boot --ephemeral --as-pid2 --setenv --user --chdir --pivot-root --capability --drop-capability
  --ambient-capability --no-new-privileges --kill-signal --personality --uuid --private-users -U --notify-ready
  --system-call-filter --oom-score-adjust --cpu-affinity --hostname --resolv-conf --timezone --link-journal -j
  --suppress-sync --restrict-address-families --rlimit --read-only --volatile --bind --bind-ro --bind-user
  --bind-user-shell --tmpfs --inaccessible --overlay --overlay-ro --private-users-ownership --private-users-chown
  --private-network --host-network --network-veth --network-veth-extra --network-interface --network-macvlan
  --network-ipvlan --network-bridge --network-zone --network-namespace-path --port`;

const words = (text: string): string[] => text.trim().split(/\s+/).sort();
const keys = (settings: typeof SETTINGS): string[] => settings.map((setting) => setting.key).sort();

describe("the table", () => {
  test.each(Object.entries(KEYS))("[%s] has every key", (section, expected) => {
    expect(keys(SETTINGS.filter((setting) => setting.section === section))).toEqual(words(expected));
  });

  test("says what is in effect", () => {
    expect(keys(SETTINGS.filter((setting) => setting.state === "in effect"))).toEqual(words(IN_EFFECT));
  });

  test("says what an image may set", () => {
    expect(keys(SETTINGS.filter((setting) => setting.safe))).toEqual(words(SAFE));
  });

  test("has every option once", () => {
    expect(COMMAND_OPTIONS.map(({ form }) => optionName(form)).sort()).toEqual(words(OPTIONS));
    const shorts = COMMAND_OPTIONS.flatMap(({ form }) => form.short ?? []);
    expect(shorts.sort().join("")).toBe("EUabjnpux");
  });

  test.each(SETTINGS.filter((setting) => setting.default !== undefined))("$key= has a valid default", (setting) => {
    const value = tableDefault(setting);
    if (setting.state === "not yet") expect(setting.accepts).toContainEqual(value);
  });

  test.each(SETTINGS)("$key= has a help text of one line", ({ help, takes }) => {
    expect(help).toMatch(/^[a-zC0-9][^\n]{10,110}[^.\n]$/);
    expect(takes).not.toBe("");
  });

  test.each(SETTINGS)("a value $key= is given by an option without one is valid", (setting) => {
    for (const { implies } of setting.options) {
      const faults: string[] = [];
      if (implies !== undefined) setting.parse(implies, (fault) => faults.push(fault.what));
      expect(faults.filter((what) => !what.includes("not in effect yet"))).toEqual([]);
    }
  });

  test("knows nothing that objects have by nature", () => {
    for (const name of ["__proto__", "constructor", "toString"]) {
      expect(findSetting("Exec", name)).toBeUndefined();
      expect(findSetting(name, "Boot")).toBeUndefined();
    }
  });
});

/** The corpus has a bad and a good (or not yet usable) value for every key: its golden files hold the messages. */
describe("the corpus", () => {
  const seed = (name: string) =>
    parseUnitFile(readFileSync(new URL(`../../fuzz/settings/${name}.nspawn`, import.meta.url), "utf8"), name)
      .assignments;
  const problemsOf = (name: string) =>
    buildSpec({
      name: "m",
      root: { value: "/m", source: { from: "default" } },
      assignments: seed(name),
      options: [],
      command: [],
    }).problems;

  test("has a bad value for every key, found in its line", () => {
    const assignments = seed("every-setting-bad");
    expect(assignments.map((each) => each.key).sort()).toEqual(keys(SETTINGS));
    const lines = new Set(
      problemsOf("every-setting-bad").map(({ source }) => (source.from === "file" ? source.line : 0)),
    );
    for (const { key, source } of assignments)
      expect([key, source.from === "file" && lines.has(source.line)]).toEqual([key, true]);
  });

  test("uses every key that is not in effect, which is an error each", () => {
    const notYet = keys(SETTINGS.filter((setting) => setting.state === "not yet"));
    expect(
      seed("every-setting-not-in-effect")
        .map((each) => each.key)
        .sort(),
    ).toEqual(notYet);
    const problems = problemsOf("every-setting-not-in-effect").map((each) => each.what);
    expect(problems.sort()).toEqual(notYet.map((key) => `${key}= is not in effect yet in this version of berth`));
  });
});

describe("assignOption", () => {
  const option = (name: string) => {
    const found = COMMAND_OPTIONS.find(({ form }) => optionName(form) === name);
    if (found === undefined) throw new Error(name);
    return found;
  };

  test.each([
    ["--boot", undefined, { section: "Exec", key: "Boot", value: "yes", option: "--boot" }],
    ["-U", undefined, { section: "Exec", key: "PrivateUsers", value: "pick", option: "-U" }],
    ["--private-users", undefined, { section: "Exec", key: "PrivateUsers", value: "yes", option: "--private-users" }],
    ["--private-users", "no", { section: "Exec", key: "PrivateUsers", value: "no", option: "--private-users=no" }],
    ["--host-network", undefined, { section: "Network", key: "Private", value: "no", option: "--host-network" }],
    ["--bind", "/a:/b", { section: "Files", key: "Bind", value: "/a:/b", option: "--bind=/a:/b" }],
    [
      "--rlimit",
      "RLIMIT_NOFILE=1:2",
      { section: "Exec", key: "LimitNOFILE", value: "1:2", option: "--rlimit=RLIMIT_NOFILE=1:2" },
    ],
    ["--rlimit", "CPU=5", { section: "Exec", key: "LimitCPU", value: "5", option: "--rlimit=CPU=5" }],
  ])("%s %s", (name, value, expected) => {
    expect(assignOption(option(name), value)).toEqual(expected);
  });

  test.each(["RLIMIT_FOO=1", "NOFILE", "=1", ""])("--rlimit=%s names no limit", (value) => {
    expect(() => assignOption(option("--rlimit"), value)).toThrow(/^--rlimit=: .* names no resource limit$/);
  });
});
