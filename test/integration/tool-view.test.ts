/** Where package managers and packages' scripts run: what they see of the host, and what they can do there. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { runInToolView } from "../../src/bootstrap/confine-tool.ts";
import type { ToolCommand } from "../../src/bootstrap/package-tool.ts";
import { makeToolDirectory } from "../../src/bootstrap/tool-directory.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";

needs("root", "tool:unshare", "tool:setpriv");
checkLeaks();

let directory: string;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "view-"));
  mkdirSync(join(directory, "tree"));
  await makeToolDirectory(directory);
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

async function run(script: string, may: ToolCommand["may"] = "fetch"): Promise<readonly string[]> {
  const lines: string[] = [];
  const { signal } = new AbortController();
  const onLine = (line: string) => void lines.push(line);
  const result = await runInToolView(["sh", "-c", script], { directory, may, signal, onLine });
  return [...lines, result.status];
}

const OK = "ended with status 0";

test("the network is reached as from the host: name servers, names, certificates are there, and whole", async () => {
  for (const name of ["resolv.conf", "hosts", "nsswitch.conf", "passwd"]) {
    const host = readFileSync(`/etc/${name}`, "utf8").trimEnd().split("\n");
    expect(await run(`cat /etc/${name}`), name).toEqual([...host, OK]);
  }
  const [count] = await run("ls /etc/alternatives | wc -l");
  expect(Number(count)).toBeGreaterThan(0);
  expect((await run("df --output=pcent / | tail -1"))[0]?.trim()).toMatch(/^\d%$/);
});

test("no secret and no socket of the host is there, and no device that holds anything", async () => {
  const gone = ["/etc/shadow", "/etc/ssl/private", "/root/*", "/home", "/old/*", "/var/lib/*", "/sys"];
  for (const path of gone) expect(await run(`ls -d ${path} 2>/dev/null`), path).toEqual(["ended with status 2"]);
  expect(await run("find /run /tmp /var -type s -o -type p"), "sockets").toEqual([OK]);
  expect(await run("for n in /dev/*; do [ -L $n ] || [ -d $n ] || echo $n; done")).toEqual([
    ...["/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"],
    OK,
  ]);
});

test("the host's programs can't be written to, nothing can be mounted or made a node, and no process but its own is seen", async () => {
  expect(await run("echo x >/usr/bin/berth-was-here")).toEqual([
    expect.stringContaining("Read-only"),
    "ended with status 2",
  ]);
  expect((await run("mount -o remount,rw /usr")).at(-1)).not.toBe(OK);
  expect((await run("umount /usr")).at(-1)).not.toBe(OK);
  expect((await run("mount -t tmpfs x /tree")).at(-1)).not.toBe(OK);
  expect((await run("mknod /tree/node b 7 0")).at(-1)).not.toBe(OK);
  expect((await run("unshare --mount true")).at(-1)).not.toBe(OK);
  expect((await run("echo 1 >/proc/sys/kernel/panic")).at(-1)).not.toBe(OK);
  expect((await run("echo h >/proc/sysrq-trigger")).at(-1)).not.toBe(OK);
  const [processes] = await run("ls -d /proc/[0-9]* | wc -l");
  expect(Number(processes)).toBeLessThan(8);
});

test("what installs has no network, and /dev and /proc in the tree; nothing of them stays", async () => {
  expect(await run("cat /proc/net/dev | grep -c :", "install")).toEqual(["1", OK]);
  expect((await run("cat /proc/net/dev | grep -c :"))[0]).not.toBe("0");
  expect(await run("ls /tree/dev/null /tree/proc/self/maps; echo x >/tree/file", "install")).toEqual([
    ...["/tree/dev/null", "/tree/proc/self/maps"],
    OK,
  ]);
  expect(readFileSync(join(directory, "tree/file"), "utf8")).toBe("x\n");
  expect(statSync(join(directory, "tree/proc")).nlink).toBe(2);
});

test("a tree whose /dev is a link gets none mounted", async () => {
  writeFileSync(join(directory, "tree/x"), "");
  expect(await run("rm -rf /tree/dev; ln -s /etc /tree/dev")).toEqual([OK]);
  expect(await run("true", "install")).toEqual(["/dev of the tree is a link", "ended with status 1"]);
});
