/** org.freedesktop.machine1 as machinectl of Debian 12 (systemd 252) and of Debian 13 (257) use it, unmodified. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type BerthRoot, berthRoot, buildBerth, poll } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { type Machinectl, machinectlOn } from "../lib/machinectl.ts";
import { probeTree } from "../lib/probe.ts";
import { openTerminal } from "../lib/pty.ts";
import { needs } from "../lib/requires.ts";
import { debianTree } from "../lib/trees.ts";
import { MACHINECTLS } from "../lib/trixie-machinectl.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:machinectl", "tool:dbus-daemon", "no-systemd");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const MACHINE1 = "org.freedesktop.machine1";

async function onTerminal(machinectl: Machinectl, words: readonly string[], type = "", when = /^/): Promise<string> {
  await using terminal = openTerminal({ rows: 24, columns: 80 });
  const child = terminal.spawn([...machinectl.argv(...words)], machinectl.env);
  await terminal.until(when);
  if (type !== "") terminal.type(type);
  const { status } = await child.end;
  return `${terminal.output}\n[status ${status}]`;
}

describe.each(MACHINECTLS)("machinectl of %s", (release, program) => {
  /** With the host's programs. */
  async function startProbe(root: BerthRoot, name = "m"): Promise<Machinectl> {
    const tree = await probeTree({ at: join(root.machines, name), init: true });
    for (const link of ["bin", "lib", "lib64"]) symlinkSync(`usr/${link}`, join(tree, link));
    mkdirSync(join(tree, "mnt"));
    root.settings(name, "[Exec]\nKillSignal=SIGRTMIN+3\n[Files]\nBindReadOnly=/usr");
    expect(await root.berth("start", name)).toMatchObject({ status: 0 });
    return onBus(root);
  }

  /** Names are there a moment after the daemon serves its own clients; status waits for that. */
  async function onBus(root: BerthRoot): Promise<Machinectl> {
    const { stdout } = await root.berth("daemon", "status", "--json");
    expect(JSON.parse(stdout).bus).toBe(`unix:path=${root.bus}`);
    return machinectlOn(root, await program());
  }

  describe("a machine", () => {
    test("is listed, shown, told of, and ended", async () => {
      await using root = berthRoot();
      const machinectl = await startProbe(root);
      const leader = root.record("m")?.leader.pid;
      const list = await machinectl("list", "--no-legend", "--all");
      expect(list.stderr).toBe("");
      expect(
        list.stdout
          .trim()
          .split("\n")
          .map((line) => line.split(/\s+/).slice(0, 4)),
      ).toEqual([
        [".host", "host", "-", expect.any(String)],
        ["m", "container", "berth", "probe"],
      ]);
      const status = await machinectl("status", "m", "--no-pager");
      expect(status).toMatchObject({ status: 0 });
      expect(status.stdout).toMatch(/^m\([0-9a-f]{32}\)\n/);
      expect(status.stdout).toContain(`Leader: ${leader} (`);
      expect(status.stdout).toMatch(/Service: berth; class container\n\s+Root: .*\/machines\/m\n/);
      expect(status.stdout).toMatch(/OS: berth test probe/);
      const show = await machinectl("show", "m");
      expect(show.stdout).toMatch(/^Name=m\nId=[0-9a-f]{32}\n/);
      expect(show.stdout).toMatch(new RegExp(`^Leader=${leader}\\nClass=container$`, "m"));
      expect((await machinectl("show")).stdout).toContain(`PoolPath=${root.machines}`);
      expect(await machinectl("status", "nobody")).toMatchObject({
        status: 1,
        stderr: "Could not get path to machine: No machine 'nobody' known\n",
      });
      expect(await machinectl("terminate", "m")).toMatchObject({ status: 0, stderr: "" });
      expect(root.record("m")).toBe(null);
      expect((await machinectl("list", "--no-legend")).stdout).toBe("");
    });

    test("gets signals, is powered off and rebooted by what systemd would understand", async () => {
      await using root = berthRoot();
      const machinectl = await startProbe(root);
      expect(await machinectl("kill", "--kill-who=leader", "--signal=SIGCONT", "m")).toMatchObject({
        status: 0,
        stderr: "",
      });
      expect(await machinectl("kill", "--kill-who=nobody", "m")).toMatchObject({ status: 1 });
      expect(await machinectl("poweroff", "m")).toMatchObject({ status: 0, stderr: "" });
      await poll("the end", () => (root.record("m") === null ? true : undefined));
      // It stays down, and is no failure.
      expect(JSON.parse((await root.berth("list", "--json")).stdout)).toEqual([]);
      expect(await root.berth("start", "m")).toMatchObject({ status: 0 });
      expect(await machinectl("kill", "--signal=SIGKILL", "m")).toMatchObject({ status: 0, stderr: "" });
      await poll("the end", () => (root.record("m") === null ? true : undefined));
    });

    test("has the addresses of its own network, its users and its root directory", async () => {
      await using root = berthRoot();
      const machinectl = await startProbe(root);
      const inside = (...words: string[]) => root.berth("exec", "m", "--", ...words);
      for (const address of ["10.1.2.3/32", "fd00::7/128"])
        expect(await inside("/usr/sbin/ip", "addr", "add", address, "dev", "lo")).toMatchObject({ status: 0 });
      const list = await machinectl("list", "--no-legend", "--max-addresses=all");
      expect(list.stdout).toMatch(/10\.1\.2\.3[…,\s]+fd00::7/);
      const call = (member: string, ...words: readonly string[]): string => {
        const args = ["call", MACHINE1, "/org/freedesktop/machine1", `${MACHINE1}.Manager`, member, ...words];
        const { stdout, stderr } = spawnSync("busctl", [`--address=unix:path=${root.bus}`, ...args], {
          encoding: "utf8",
        });
        return `${stdout}${stderr}`.trim();
      };
      const shift = root.record("m")?.uidShift ?? 0;
      expect(call("GetMachineUIDShift", "s", "m")).toBe(`u ${shift}`);
      expect(call("MapFromMachineUser", "su", "m", "1000")).toBe(`u ${shift + 1000}`);
      expect(call("MapToMachineGroup", "u", `${shift + 7}`)).toBe('sou "m" "/org/freedesktop/machine1/machine/m" 7');
      expect(call("MapToMachineUser", "u", "7")).toContain("User 7 belongs to host UID range");
      expect(call("MapFromMachineUser", "su", "m", "70000")).toContain("has no matching user mappings");
      const leader = `${root.record("m")?.leader.pid}`;
      expect(call("GetMachineByPID", "u", leader)).toBe('o "/org/freedesktop/machine1/machine/m"');
      expect(call("GetMachineByPID", "u", `${process.pid}`)).toContain("does not belong to any known machine");
      expect(call("OpenMachineRootDirectory", "s", "m")).toMatch(/^h \d+$/);
      expect(call("OpenMachinePTY", "s", "m")).toMatch(/^hs \d+ "\/dev\/pts\/\d+"$/);
      expect((await machinectl("terminate", "m")).status).toBe(0);
      root.settings("m", "[Exec]\nKillSignal=SIGRTMIN+3\n[Network]\nPrivate=no");
      expect(await root.berth("start", "m")).toMatchObject({ status: 0 });
      expect(call("GetMachineAddresses", "s", "m")).toContain("Machine m does not use private networking");
      expect((await machinectl("terminate", "m")).status).toBe(0);
    });

    test("takes files and gives them, and sees what is bound", async () => {
      await using root = berthRoot();
      const machinectl = await startProbe(root);
      const there = root.directory("there");
      writeFileSync(join(there, "file"), "of the host\n");
      expect(await machinectl("copy-to", "m", join(there, "file"), "/root/file")).toMatchObject({
        status: 0,
        stderr: "",
      });
      expect(await machinectl("copy-to", "m", join(there, "file"), "/root/file")).toMatchObject({ status: 1 });
      expect(await machinectl("copy-to", "--force", "m", join(there, "file"), "/root/file")).toMatchObject({
        status: 0,
      });
      expect(await machinectl("copy-from", "m", "/root/file", join(there, "back"))).toMatchObject({
        status: 0,
        stderr: "",
      });
      expect(readFileSync(join(there, "back"), "utf8")).toBe("of the host\n");
      expect(await machinectl("bind", "--mkdir", "m", there, "/mnt/there")).toMatchObject({ status: 0, stderr: "" });
      expect((await root.berth("exec", "m", "--", "cat", "/mnt/there/file")).stdout).toBe("of the host\n");
      expect(await machinectl("terminate", "m")).toMatchObject({ status: 0 });
    });

    test("without systemd gives a shell by being joined; login needs a login", async () => {
      await using root = berthRoot();
      const machinectl = await startProbe(root);
      const shown = await onTerminal(machinectl, ["shell", "m", "/bin/sh", "-c", "echo $((6*7)); tty; id -u"]);
      expect(shown).toMatch(/42\r\n\/dev\/pts\/\d+\r\n0\r\n/);
      expect(shown).toContain("[status 0]");
      expect(
        await onTerminal(machinectl, ["shell", "--setenv=A=b", "1234@m", "/bin/sh", "-c", "id -u; echo $A"]),
      ).toMatch(/1234\r\nb\r\n/);
      expect(await onTerminal(machinectl, ["shell", "nobody-there@m"])).toMatch(/has no .*\[status 1\]/s);
      expect(await machinectl("terminate", "m")).toMatchObject({ status: 0 });
    });
  });

  describe("a machine of somebody else's", () => {
    test("is known from its registration until its leader ends, or it is forgotten", async () => {
      await using root = berthRoot();
      expect((await root.berth("daemon", "start")).status).toBe(0);
      const machinectl = await onBus(root);
      const register = (name: string, leader: number): string => {
        const manager = [MACHINE1, "/org/freedesktop/machine1", `${MACHINE1}.Manager`];
        const args = ["sayssus", name, "0", "test", "container", `${leader}`, "/"];
        const call = ["call", ...manager, "RegisterMachine", ...args];
        const { stdout, stderr } = spawnSync("busctl", [`--address=unix:path=${root.bus}`, ...call], {
          encoding: "utf8",
        });
        return `${stdout}${stderr}`.trim();
      };
      const list = async (): Promise<string> => (await machinectl("list", "--no-legend")).stdout;
      await using leader = root.spawn(["unshare", "-n", "sleep", "1000"]);
      expect(register("x", leader.pid)).toBe('o "/org/freedesktop/machine1/machine/x"');
      expect(register("x", leader.pid)).toContain("Machine 'x' already exists");
      expect(register("y", 1)).toContain("Invalid leader PID");
      expect(register("../y", leader.pid)).toContain("Invalid machine name");
      expect(await list()).toMatch(/^x +container +test +debian/);
      expect((await machinectl("status", "x")).stdout).toContain(`Leader: ${leader.pid} (sleep)`);
      expect((await machinectl("shell", "x")).status).toBe(1);
      expect((await machinectl("terminate", "x")).status).toBe(0);
      expect((await leader.end).signal).toBe("SIGKILL");
      for (let round = 0; (await list()) !== ""; round++) if (round > 50) throw new Error("it is still there");
      await using other = root.spawn(["sleep", "1000"]);
      expect(register("x", other.pid)).toMatch(/^o /);
      const unregister = [
        "call",
        MACHINE1,
        "/org/freedesktop/machine1",
        `${MACHINE1}.Manager`,
        "UnregisterMachine",
        "s",
        "x",
      ];
      expect(spawnSync("busctl", [`--address=unix:path=${root.bus}`, ...unregister]).status).toBe(0);
      expect(await list()).toBe("");
    });
  });

  describe("images", () => {
    test("are listed, shown, cloned, renamed, marked, removed", async () => {
      await using root = berthRoot();
      await probeTree({ at: join(root.machines, "one"), init: true });
      expect(await root.berth("daemon", "start")).toMatchObject({ status: 0 });
      const machinectl = await onBus(root);
      const names = async (): Promise<string[]> =>
        (await machinectl("list-images", "--no-legend")).stdout
          .trim()
          .split("\n")
          .map((line) => line.split(" ")[0] ?? "");
      expect(await names()).toEqual(["one"]);
      const status = await machinectl("image-status", "one");
      expect(status).toMatchObject({ status: 0, stderr: "" });
      expect(status.stdout).toMatch(/^one\n\s+Type: directory\n\s+Path: .*\/machines\/one\n/);
      expect((await machinectl("show-image", "one")).stdout).toMatch(
        /^Name=one\nPath=.*\nType=directory\nReadOnly=no$/m,
      );
      for (const words of [
        ["clone", "one", "two"],
        ["rename", "two", "three"],
        ["read-only", "three", "yes"],
        ["read-only", "three", "no"],
      ])
        expect(await machinectl(...words)).toMatchObject({ status: 0, stderr: "" });
      expect(await names()).toEqual(["one", "three"]);
      expect(await machinectl("set-limit", "three", "1G")).toMatchObject({ status: 1 });
      expect(await machinectl("clone", "one", ".hidden")).toMatchObject({ status: 1 });
      expect(await machinectl("remove", "three")).toMatchObject({ status: 0, stderr: "" });
      expect(await machinectl("clean", "--all")).toMatchObject({ status: 0 });
      expect(existsSync(join(root.machines, "one"))).toBe(false);
      expect(await machinectl("remove", "three")).toMatchObject({
        status: 1,
        stderr: expect.stringContaining('no image "three"'),
      });
    });
  });

  describe("units", () => {
    test("a machine is enabled, started, shown with its processes, disabled", async () => {
      await using root = berthRoot();
      const machinectl = await startProbe(root);
      const status = await machinectl("status", "m", "--no-pager");
      expect(status.stderr).toBe("");
      expect(status.stdout).toMatch(/Unit: berth@m\.service\n[\s\S]*payload[\s\S]*\d+ .*init/);
      expect(await machinectl("start", "m")).toMatchObject({ status: 0, stderr: "" });
      expect((await machinectl("terminate", "m")).status).toBe(0);
      expect(await machinectl("start", "m")).toMatchObject({ status: 0, stderr: "" });
      expect(root.record("m")).toMatchObject({ state: "running" });
      expect((await machinectl("terminate", "m")).status).toBe(0);
      expect((await machinectl("enable", "m")).status).toBe(0);
      expect(readlinkSync(join(root.etc, "enabled/m"))).toBe(join(root.machines, "m"));
      expect((await machinectl("disable", "m")).status).toBe(0);
      expect(existsSync(join(root.etc, "enabled/m"))).toBe(false);
      expect(await machinectl("start", "nobody")).toMatchObject({ status: 1 });
      mkdirSync(join(root.machines, "empty"));
      const failed = await machinectl("start", "empty");
      expect(failed.status).toBe(1);
      // That of 257 says nothing of jobs that fail.
      if (release === "Debian 12") expect(failed.stderr).toContain("Job for systemd-nspawn@empty.service failed");
    });
  });

  describe("Debian", () => {
    test("is told of, entered through its systemd, rebooted and powered off", { timeout: 200_000 }, async () => {
      if (!needs("tool:mmdebstrap")) return;
      await using root = berthRoot();
      execFileSync("cp", ["-a", "--reflink=auto", await debianTree("bookworm"), join(root.machines, "deb")]);
      expect(await root.berth("start", "deb")).toMatchObject({ status: 0 });
      const machinectl = await onBus(root);
      expect((await machinectl("status", "deb")).stdout).toMatch(
        /Leader: \d+ \(systemd\)[\s\S]*OS: Debian GNU\/Linux 12/,
      );
      const session = await onTerminal(machinectl, [
        "shell",
        "deb",
        "/bin/sh",
        "-c",
        "tty; echo session $XDG_SESSION_ID; cat /proc/self/cgroup",
      ]);
      expect(session).toMatch(/\/dev\/pts\/\d+\r\nsession \w+\r\n[\s\S]*(container-shell@|session-)/);
      expect(await onTerminal(machinectl, ["shell", "deb"], "echo $((6*7)); logout\r", /root@deb/)).toContain("42\r\n");
      expect(await onTerminal(machinectl, ["login", "deb"], "\x1d\x1d\x1d", /deb login: /)).toContain("[status 0]");
      expect(await onTerminal(machinectl, ["shell", "nobody-there@deb"])).toMatch(
        /has no user nobody-there.*\[status 1\]/s,
      );
      const before = root.record("deb")?.leader.pid;
      expect(await machinectl("reboot", "deb")).toMatchObject({ status: 0, stderr: "" });
      await poll("the second boot", () => {
        const now = root.record("deb");
        return now?.ready === true && now.leader.pid !== before ? true : undefined;
      });
      expect(await machinectl("poweroff", "deb")).toMatchObject({ status: 0, stderr: "" });
      await poll("the end", () => (root.record("deb") === null ? true : undefined));
    });
  });
});
