/** What must not end or delay berthd: a bug of its own, variables of machines that node and ld.so read, a storm on the bus. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, expect, test } from "vitest";
import { encode, METHOD_CALL } from "../../src/bus/message.ts";
import { berthRoot, buildBerth, poll } from "../lib/berth.ts";
import { berthd } from "../lib/daemon.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";
import { shellMachine } from "../lib/shell-machine.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:dbus-daemon");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

test.each([
  ["a rejection that nobody handles", "Promise.reject(new Error('a bug'))"],
  ["an error that nobody catches", "setImmediate(() => { throw new Error('a bug'); })"],
])("%s is told, and costs no machine its manager", async (_, bug) => {
  await using root = berthRoot();
  const hook = join(root.path, "bug.cjs");
  writeFileSync(hook, `process.on("SIGUSR2", () => { ${bug}; });`);
  await using daemon = await berthd(root, { env: { NODE_OPTIONS: `--require=${hook}` } });
  await shellMachine(root, "m");
  expect((await root.berth("start", "m")).status).toBe(0);
  const pid = root.daemonPid() ?? 0;
  process.kill(pid, "SIGUSR2");
  await poll("the log", () => (daemon.stderr.includes("internal error: Error: a bug") ? true : undefined));
  expect((await root.berth("exec", "m", "--", "echo", "on")).stdout).toBe("on\n");
  expect(root.daemonPid()).toBe(pid);
  expect((await root.berth("terminate", "m")).status).toBe(0);
  daemon.kill();
  expect((await daemon.end).status).toBe(0);
});

test("variables of a machine's settings that node and ld.so read are the machine's alone", async () => {
  await using root = berthRoot();
  const [ran, evil] = [join(root.path, "ran"), join(root.path, "evil.cjs")];
  writeFileSync(evil, `require("node:fs").writeFileSync(${JSON.stringify(ran)}, "");`);
  const settings = [`NODE_OPTIONS=--require=${evil}`, `LD_PRELOAD=${evil}`, `LD_AUDIT=${evil}`, "PATH=/evil"];
  await shellMachine(root, "m", undefined, `[Exec]\n${settings.map((each) => `Environment=${each}`).join("\n")}\n`);
  await using daemon = await berthd(root);
  expect((await root.berth("start", "m")).status).toBe(0);
  const record = root.record("m");
  const variables = (pid: number | undefined): readonly string[] =>
    readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
  expect(variables(record?.leader.pid)).toEqual(expect.arrayContaining(settings));
  for (const pid of [root.daemonPid(), record?.keeper.pid])
    for (const setting of settings) expect(variables(pid)).not.toContain(setting);
  expect((await root.berth("exec", "m", "--", "/bin/echo", "on")).stderr).not.toContain("evil");
  expect((await root.berth("terminate", "m")).status).toBe(0);
  expect(existsSync(ran)).toBe(false);
  daemon.kill();
  expect((await daemon.end).status).toBe(0);
});

/** As a client sends it, without flags. */
function call(destination: string, path: string, at: string, member: string, serial: number): Buffer {
  const what = { type: METHOD_CALL, serial, destination, path, interface: at, member };
  return encode({ ...what, signature: "", body: [] }).bytes;
}

const MACHINE1 = "org.freedesktop.machine1";

test("a storm of calls on the bus by a user of the host delays root by moments, and fills neither memory nor log", async () => {
  await using root = berthRoot();
  await shellMachine(root, "m");
  await using daemon = await berthd(root);
  expect((await root.berth("start", "m")).status).toBe(0);
  await poll("the bus", () => (/ is on the bus at /.test(daemon.stderr) ? true : undefined));
  const [hello, list] = [
    call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello", 1),
    call(MACHINE1, "/org/freedesktop/machine1", `${MACHINE1}.Manager`, "ListMachines", 2),
  ];
  // It is one when the daemon has answered a thousand of them.
  const script = `
    process.chdir(process.argv[1]);
    process.setgroups([]); process.setgid(65534); process.setuid(65534);
    const [hello, list] = process.argv.slice(2).map((text) => Buffer.from(text, "hex"));
    const uid = Buffer.from("65534").toString("hex");
    let answered = 0;
    const storm = () => {
      const socket = require("node:net").connect("bus");
      let authenticated = false;
      const more = () => { while (socket.write(list)); socket.once("drain", more); };
      socket.on("connect", () => socket.write("\\0AUTH EXTERNAL " + uid + "\\r\\n"));
      socket.on("error", () => {}).on("close", () => setTimeout(storm, 20));
      socket.on("data", (data) => {
        answered += data.toString("latin1").split("/machine1/machine/m").length - 1;
        if (authenticated || !data.includes("OK")) return;
        authenticated = true;
        socket.write("BEGIN\\r\\n"); socket.write(hello); more();
      });
    };
    for (let count = 0; count < 4; count++) storm();
    setInterval(() => { if (answered > 1000) console.log("storm"); }, 100);`;
  const words = [join(root.path, "run"), hello.toString("hex"), list.toString("hex")];
  const pid = root.daemonPid() ?? 0;
  const before = rss(pid);
  await using storm = root.spawn([process.execPath, "-e", script, ...words]);
  await storm.until(/^storm$/m);
  for (let round = 0; round < 10; round++) {
    const answer = root.berth("exec", "m", "--", "echo", "on");
    expect(await Promise.race([answer, sleep(20_000, "no answer in time", { ref: false })])).toMatchObject({
      stdout: "on\n",
    });
  }
  expect(root.daemonPid()).toBe(pid);
  expect(rss(pid) - before, "kB").toBeLessThan(150_000);
  storm.kill("SIGKILL");
  await storm.end;
  expect(daemon.stderr.split("\n").length).toBeLessThan(30);
  expect((await root.berth("terminate", "m")).status).toBe(0);
  daemon.kill();
  expect((await daemon.end).status).toBe(0);
});

/** kB */
function rss(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}
