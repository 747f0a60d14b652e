import { execFileSync } from "node:child_process";
import { hostname } from "node:os";
import { expect, test } from "vitest";
import { readHostFacts } from "../../../src/host/read-facts.ts";
import { docker, elsewhere, filesOf, hybrid, legacy, unified } from "./samples.ts";

test("a Debian host under systemd, whole", () => {
  expect(readHostFacts(filesOf(unified), "x64")).toEqual({
    arch: "x64",
    kernel: { release: "6.1.0-18-amd64", version: [6, 1] },
    cgroup: {
      mode: "v2",
      mount: "/sys/fs/cgroup",
      own: "/user.slice/user-0.slice/session-1.scope",
      controllers: ["memory", "pids"],
    },
    systemd: true,
    selinux: false,
    capabilities: "000001ffffffffff",
    lastCapability: 40,
    hardLimits: expect.objectContaining({ nofile: 524288, cpu: null }),
    sysctls: { maxUserNamespaces: 63432, threadsMax: 126864 },
    hostname: "alpha",
    machineId: "0123456789abcdef0123456789abcdef",
    bootId: "8d2c8a05-11c4-4c3e-9f3c-3a2d8f2b5a11",
    osRelease: { VERSION_ID: "12", ID: "debian" },
    timezone: "Europe/Berlin",
    resolved: { stub: true, uplink: true, static: true },
  });
});

test("a host without systemd, resolved, machine-id and /etc/os-release", () => {
  expect(readHostFacts(filesOf(hybrid), "arm64")).toMatchObject({
    arch: "arm64",
    systemd: false,
    machineId: null,
    osRelease: { ID: "debian", VERSION_ID: "12" },
    timezone: "Etc/UTC",
    resolved: { stub: false, uplink: false, static: false },
  });
});

test("of os-release only what the Container Interface passes on", () => {
  expect(readHostFacts(filesOf(legacy), "x64").osRelease).toEqual({
    ID: "ubuntu",
    VERSION_ID: "20.04",
    VARIANT_ID: "server",
  });
  expect(readHostFacts(filesOf(elsewhere), "x64").osRelease).toEqual({});
});

test("facts survive JSON", () => {
  for (const sample of [unified, hybrid, legacy, docker, elsewhere]) {
    const facts = readHostFacts(filesOf(sample), "x64");
    expect(JSON.parse(JSON.stringify(facts))).toEqual(facts);
  }
});

test("without /proc: an error that names the file and says what to do", () => {
  expect(() => readHostFacts(filesOf({ files: {} }), "x64")).toThrow("/proc/sys/kernel/osrelease: cannot be read");
  expect(() => readHostFacts(filesOf(unified), "riscv64")).toThrow("riscv64");
});

test("this machine: agrees with the tools of the system", () => {
  const run = (command: string, ...args: string[]) => execFileSync(command, args, { encoding: "utf8" }).trim();
  const facts = readHostFacts();
  expect(facts.kernel.release).toBe(run("uname", "-r"));
  expect({ x64: "x86_64", arm64: "aarch64" }[facts.arch]).toBe(run("uname", "-m"));
  expect(facts.hostname).toBe(hostname());
  const nofile = run("sh", "-c", "ulimit -Hn");
  expect(facts.hardLimits.nofile).toBe(nofile === "unlimited" ? null : Number(nofile));
  expect(facts.timezone).toBe(run("sh", "-c", "readlink /etc/localtime | sed 's,.*/zoneinfo/,,'") || null);
  expect(facts.osRelease["ID"]).toBe(run("sh", "-c", ". /etc/os-release; echo $ID"));
  expect(facts.capabilities).toBe(run("sed", "-n", "s/^CapEff:[[:space:]]*//p", "/proc/self/status"));
  expect(facts.hardLimits).toHaveProperty("rttime");
});

test("reads nothing twice and no more than it needs", () => {
  const read: string[] = [];
  const files = filesOf(unified);
  const text = (path: string) => {
    read.push(path);
    return files.text(path);
  };
  readHostFacts({ ...files, text }, "x64");
  expect(read.length).toBeLessThan(25);
  expect(new Set(read).size).toBe(read.length);
});

test("median time of 20 passes", () => {
  const times = Array.from({ length: 20 }, () => {
    const start = performance.now();
    readHostFacts();
    return performance.now() - start;
  }).sort((a, b) => a - b);
  const median = ((times[9] ?? 0) + (times[10] ?? 0)) / 2;
  console.log(
    `readHostFacts: median ${median.toFixed(2)} ms, slowest ${times.at(-1)?.toFixed(2)} ms of ${times.length}`,
  );
  expect(times).toHaveLength(20);
});
