/** Settings of [Exec] and [Network] from files and options: each shows inside, or is refused by name and place. */
import { mkdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { capabilityNumber } from "../../src/spec/capabilities.ts";
import { berthRoot } from "../lib/berth.ts";
import { interview } from "../lib/interview.ts";
import { type ProbeLine, parseProbe, probe, probeTree } from "../lib/probe.ts";
import { setUpProbe } from "../lib/set-up.ts";

const { tree } = setUpProbe();

const ID = "0123456789abcdef0123456789abcdef";
const DASHED = "01234567-89ab-cdef-0123-456789abcdef";

function has(line: ProbeLine, set: string, capability: string): boolean {
  return ((BigInt(`0x${line[set]}`) >> BigInt(capabilityNumber(capability) ?? 63)) & 1n) === 1n;
}

test("Parameters=, Environment=, Hostname=, MachineID=, Capability=, DropCapability=, SystemCallFilter= of a file: each shows inside", async () => {
  await using root = berthRoot();
  root.settings(
    "m",
    `[Exec]
Parameters=/probe env -- hostname -- ids -- syscall 83 0 0 -- syscall 250 0 0 0
Environment=GREETING="hello world" EMPTY=
Environment=TERM=dumb
Environment=PATH=/only/this
Hostname=elsewhere.example
MachineID=${ID}
Capability=CAP_SYS_TIME
Capability=CAP_IPC_LOCK
DropCapability=CAP_MKNOD CAP_SYS_TIME
SystemCallFilter=keyctl
SystemCallFilter=~mkdir`,
  );
  const { status, stdout } = await root.berth("run", "-q", "-D", tree, "-M", "m", "--pipe");
  expect(status).toBe(0);
  const { env, container_uuid } = {
    env: parseProbe(stdout, "env")["env"] as Record<string, string>,
    container_uuid: DASHED,
  };
  expect(env).toMatchObject({ GREETING: "hello world", EMPTY: "", TERM: "dumb", PATH: "/only/this", container_uuid });
  expect(parseProbe(stdout, "hostname")["hostname"]).toBe("elsewhere.example");
  const ids = parseProbe(stdout, "ids");
  for (const set of ["effective", "bounding"]) {
    expect(has(ids, set, "CAP_IPC_LOCK"), set).toBe(true);
    expect(has(ids, set, "CAP_CHOWN"), set).toBe(true);
    for (const name of ["CAP_MKNOD", "CAP_SYS_TIME"]) expect(has(ids, set, name), `${set} ${name}`).toBe(false);
  }
  // mkdir(NULL) is denied before it can be EFAULT; keyctl(GET_KEYRING_ID, 0) gets as far as its arguments.
  const [mkdir, keyctl] = parseProbe(stdout).filter(({ verb }) => verb === "syscall");
  if (process.arch === "x64") expect([mkdir?.["errno"], keyctl?.["errno"]]).toEqual(["EPERM", "EINVAL"]);
});

test("Boot=yes: the tree's init is PID 1, with Parameters= as its arguments", async () => {
  await using root = berthRoot();
  root.settings("m", "[Exec]\nBoot=yes\nParameters=--term --status 4");
  const bootable = await probeTree({ init: true });
  await using child = root.start("run", "-q", "-D", bootable, "-M", "m", "--console=read-only");
  await child.until(/^up/m);
  await root.recordWhen("m");
  child.kill();
  expect(await child.end).toMatchObject({ status: 4, signal: null });
});

test("--hostname, --setenv, --drop-capability: options win over the file where there is one value, and add to it where there are many", async () => {
  await using root = berthRoot();
  root.settings("m", "[Exec]\nHostname=of-the-file\nEnvironment=A=file B=file\nDropCapability=CAP_CHOWN");
  const options = ["-q", "-M", "m", "--hostname=of-the-option", "-E", "B=option", "-E", "BERTH_TEST_SECRET"];
  const talk = interview({ env: ["env"], hostname: ["hostname"], ids: ["ids"] });
  const { stdout } = await root.run(tree, [...options, "--drop-capability=CAP_KILL"], talk.command);
  const answers = talk.answers(stdout);
  expect(answers.line("env")["env"]).toMatchObject({ A: "file", B: "option", BERTH_TEST_SECRET: "of the caller" });
  expect(answers.line("hostname")["hostname"]).toBe("of-the-option");
  for (const name of ["CAP_CHOWN", "CAP_KILL"]) expect(has(answers.line("ids"), "bounding", name), name).toBe(false);
});

test("drop-ins are read on top of the file, in the order of their names", async () => {
  await using root = berthRoot();
  root.settings("m", "[Exec]\nHostname=main\nEnvironment=A=main");
  const directory = root.directory("etc/machines/m.nspawn.d");
  writeFileSync(join(directory, "20-b.conf"), "[Exec]\nHostname=second\n");
  writeFileSync(join(directory, "10-a.conf"), "[Exec]\nHostname=first\nEnvironment=B=first\n");
  const { stdout } = await root.run(tree, ["-M", "m"], probe("hostname", "--", "env"));
  expect(parseProbe(stdout, "hostname")["hostname"]).toBe("second");
  expect(parseProbe(stdout, "env")["env"]).toMatchObject({ A: "main", B: "first" });
});

test("settings beside a tree are not trusted: what is safe holds, the rest is named", async () => {
  await using root = berthRoot();
  await probeTree({ at: join(root.machines, "m") });
  const path = join(root.machines, "m.nspawn");
  writeFileSync(
    path,
    "[Exec]\nHostname=safe\nPrivateUsers=no\nCapability=all\n[Files]\nBind=/etc:/mnt\n[Network]\nPrivate=no\n",
  );
  const talk = interview({
    hostname: ["hostname"],
    map: ["cat", "/proc/self/uid_map"],
    mnt: ["ls", "/mnt"],
    ids: ["ids"],
  });
  const { stdout, stderr } = await root.berth("run", "-M", "m", "--pipe", "--", ...talk.command);
  const answers = talk.answers(stdout);
  expect(answers.line("hostname")["hostname"]).toBe("safe");
  expect(answers.text("map")).toMatch(/^\s+0\s+[1-9]\d+\s+65536$/m);
  expect(answers.line("mnt").error).toBe("ENOENT");
  expect(has(answers.line("ids"), "bounding", "CAP_SYS_TIME")).toBe(false);
  for (const line of [3, 4, 6, 8]) expect(stderr).toContain(`${path}:${line}:`);
});

test("--capability=all, --drop-capability=all: all asked for stay within the machine's own user namespace", async () => {
  await using root = berthRoot();
  const none = await root.run(tree, ["--drop-capability=all"], probe("ids"));
  expect(parseProbe(none.stdout, "ids")).toMatchObject({ uid: 0, effective: "0", permitted: "0", bounding: "0" });
  const all = await root.run(tree, ["--capability=all"], probe("ids"));
  const last = Number(readFileSync("/proc/sys/kernel/cap_last_cap", "utf8"));
  expect(parseProbe(all.stdout, "ids")["effective"]).toBe(((1n << BigInt(last + 1)) - 1n).toString(16));
  expect(all.stderr).toContain("weaker than the default: it keeps all capabilities [--capability=all]");
});

test("--system-call-filter=~@mount: a group of system calls can be denied", async () => {
  await using root = berthRoot();
  const words = ["mount", "tmpfs", "/root", "tmpfs", "0", "-"];
  expect(parseProbe((await root.run(tree, [], probe(...words))).stdout)[0]).toMatchObject({ ok: true });
  const denied = await root.run(tree, ["--system-call-filter=~@mount"], probe(...words));
  expect(parseProbe(denied.stdout)[0]).toMatchObject({ verb: "mount", error: "EPERM" });
});

test("Private=no: the host's interfaces are seen, sysfs is there and CAP_NET_ADMIN is not", async () => {
  await using root = berthRoot();
  root.settings("m", "[Network]\nPrivate=no");
  const talk = interview({
    net: ["net"],
    namespaces: ["namespaces"],
    ids: ["ids"],
    sys: ["ls", "/sys/class"],
    sysctl: ["write", "/proc/sys/net/ipv4/ip_forward", "1"],
  });
  const { stdout, stderr } = await root.run(tree, ["-x", "-M", "m"], talk.command);
  const answers = talk.answers(stdout);
  expect(answers.line("namespaces")["net"]).toBe(readlinkSync("/proc/self/ns/net"));
  const links = readFileSync("/proc/self/net/dev", "utf8")
    .split("\n")
    .slice(2)
    .filter(Boolean)
    .map((line) => line.slice(0, line.indexOf(":")).trim());
  expect(Object.keys(answers.line("net")["links"] as object).sort()).toEqual(links.sort());
  expect(has(answers.line("ids"), "bounding", "CAP_NET_ADMIN")).toBe(false);
  expect(answers.line("sys")["names"]).toContain("net");
  expect(answers.line("sysctl").error).toBe("EACCES");
  expect(stderr).toContain(`it shares the host's network, abstract sockets included [${root.etc}/machines/m.nspawn:2]`);
});

test("without MachineID= the machine's id is the tree's own where there is one, and random where not", async () => {
  await using root = berthRoot();
  const own = await probeTree({ at: join(root.machines, "own") });
  writeFileSync(join(own, "etc/machine-id"), `${ID}\n`);
  const uuid = async (path: string) =>
    (await root.run(path, [], probe("cat", "/run/host/container-uuid"))).stdout.trim();
  expect(await uuid(own)).toBe(DASHED);
  const [first, second] = [await uuid(tree), await uuid(tree)];
  expect(first).not.toBe(second);
});

test("KillSignal= is what stops a machine", async () => {
  await using root = berthRoot();
  root.settings("m", "[Exec]\nKillSignal=SIGRTMIN+3");
  // Without --term the probe does nothing on SIGTERM.
  await using child = root.start(
    "run",
    "-D",
    tree,
    "-M",
    "m",
    "--console=read-only",
    "--",
    ...probe("init", "--status", "5"),
  );
  await child.until(/^up/m);
  child.kill("SIGTERM");
  expect(await child.end).toMatchObject({ status: 5 });
  expect(child.stdout).toBe("up\r\nstopping\r\n");
});

describe("what is not in effect", () => {
  test("is refused by name, file, line and column, all at once and before anything runs", async () => {
    await using root = berthRoot();
    const text = `[Network]
VirtualEthernet=yes
Interface=eth0
Bridge=br0
Zone=web
Port=80`;
    const path = root.settings("m", text);
    const { status, stdout, stderr } = await root.run(tree, ["-M", "m"], probe("cwd"));
    expect([status, stdout]).toEqual([125, ""]);
    const lines = text.split("\n").flatMap((line, index) => {
      const [key = "", value = ""] = line.split("=");
      return value === "" ? [] : [{ key, at: `${path}:${index + 1}:` }];
    });
    for (const { key, at } of lines) expect(stderr).toMatch(new RegExp(`${at}\\d+: ${key}= is not in effect yet`));
    expect(lines).toHaveLength(5);
  });

  test("as an option is wrong usage, or refused by its name", async () => {
    await using root = berthRoot();
    for (const option of ["--oci-bundle=/x", "--template=/x", "--network-veth", "-n", "--network-bridge=br0"]) {
      const { status, stdout, stderr } = await root.run(tree, [option], probe("cwd"));
      expect([2, 125], option).toContain(status);
      expect(stdout, option).toBe("");
      expect(stderr, option).toContain(option.replace(/=.*/, ""));
    }
  });

  test("an unknown setting is warned of with its place and the nearest name, and the machine runs", async () => {
    await using root = berthRoot();
    const path = root.settings("m", "[Exec]\nHostnam=x\n[Fils]\nBind=/etc\n");
    const { status, stdout, stderr } = await root.run(tree, ["-M", "m"], probe("cwd"));
    expect(status).toBe(0);
    expect(parseProbe(stdout)).toHaveLength(1);
    expect(stderr).toMatch(new RegExp(`${path}:2:\\d+: .*Hostnam.*Hostname`));
    expect(stderr).toMatch(new RegExp(`${path}:4:\\d+: .*Fils.*Files`));
  });
});

test("--quiet keeps warnings and weaknesses to itself", async () => {
  await using root = berthRoot();
  root.settings("m", "[Exec]\nHostnam=x\n[Network]\nPrivate=no");
  expect(await root.run(tree, ["-x", "-q", "-M", "m"], probe("cwd"))).toMatchObject({ status: 0, stderr: "" });
});

test("--machine=NAME alone finds the tree and the settings of that name", async () => {
  await using root = berthRoot();
  await probeTree({ at: join(root.machines, "web") });
  mkdirSync(join(root.machines, "web/srv"));
  root.settings("web", "[Exec]\nHostname=www");
  const { stdout } = await root.berth("run", "-M", "web", "--pipe", "--", ...probe("hostname", "--", "ls", "/srv"));
  expect(parseProbe(stdout, "hostname")["hostname"]).toBe("www");
  expect(parseProbe(stdout, "ls")["names"]).toEqual([]);
});
