/** What berth has on the bus, beside what the real systemd-machined and systemd-importd have there. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { beforeAll, describe, expect, test } from "vitest";
import { berthRoot, buildBerth } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";
import { startTestBus } from "../lib/test-bus.ts";

const [MACHINED, IMPORTD] = ["/lib/systemd/systemd-machined", "/lib/systemd/systemd-importd"] as const;
const ready = needs("root", "tool:busctl", "tool:dbus-daemon", "systemd-nspawn", "no-systemd");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const MACHINE1 = "org.freedesktop.machine1";
const IMPORT1 = "org.freedesktop.import1";
const OBJECTS = [
  [MACHINE1, "/org/freedesktop/machine1"],
  [MACHINE1, "/org/freedesktop/machine1/machine/_2ehost"],
  [MACHINE1, "/org/freedesktop/machine1/image/_2ehost"],
  [IMPORT1, "/org/freedesktop/import1"],
] as const;

/** What ours has besides Debian 12's, of systemd 252, or in another way, and why. */
const NEWER = /^(method (Get(Machine)?SSHInfo|\w+Ex|ListImages) |property (VSockCID|SSHAddress|SSHPrivateKeyPath) )/;
/** systemd-nspawn and -vmspawn of 259 tell of their machines so, by pidfd; what is older knows none of it, and goes on as before. */
const OF_259 = [
  "method CreateMachineEx s:name a(sv):properties a(sv):scope_properties -> o:path [privileged]",
  "method RegisterMachineEx s:name a(sv):properties -> o:path [privileged]",
];
/** systemd 257 calls an argument so. */
const RENAMED = [
  ["method Kill s:who i:signal", "method Kill s:whom i:signal"],
  ["method KillMachine s:name s:who i:signal", "method KillMachine s:name s:whom i:signal"],
] as const;

/** Each member on a line, with names of arguments and what may be called by whom. */
function members(xml: string): readonly string[] {
  return [...xml.matchAll(/<interface name="([^"]+)">(.*?)<\/interface>/gs)].flatMap(([, name = "", body = ""]) =>
    name.startsWith("org.freedesktop.DBus.") || name.includes("LogControl")
      ? []
      : [...body.matchAll(/<(method|property|signal) name="([^"]+)"([^>]*?)(?:\/>|>(.*?)<\/\1>)/gs)].map(
          ([, kind, member, attributes = "", inner = ""]) => {
            const args = [...inner.matchAll(/<arg type="([^"]+)"(?: name="([^"]+)")?(?: direction="(\w+)")?\/>/g)];
            const show = (direction: string) =>
              args.filter(([, , , to = "in"]) => to === direction).map(([, type, arg = ""]) => ` ${type}:${arg}`);
            const emits = /EmitsChangedSignal" value="(\w+)"/.exec(inner)?.[1];
            const type = /type="([^"]+)"/.exec(attributes)?.[1];
            const guarded = inner.includes("Privileged") ? " [privileged]" : "";
            const out = show("out");
            return kind === "property"
              ? `property ${member} ${type} ${emits ?? "true"}`
              : `${kind} ${member}${show("in").join("")}${out.length > 0 ? ` ->${out.join("")}` : ""}${guarded}`;
          },
        ),
  );
}

const introspect = async (address: string, name: string, path: string): Promise<string> =>
  (await promisify(execFile)("busctl", [`--address=${address}`, "--xml-interface", "introspect", name, path])).stdout;

async function owned(address: string, name: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await introspect(address, name, "/");
      return;
    } catch (error) {
      if (tries > 200) throw error;
      await sleep(20);
    }
  }
}

describe("beside the real ones", () => {
  test("every member has the same name, signature, names of arguments, annotations", async () => {
    const bus = await startTestBus();
    const env = { ...process.env, DBUS_SYSTEM_BUS_ADDRESS: bus.address };
    const daemons: ChildProcess[] = [MACHINED, IMPORTD].map((program) => spawn(program, { env, stdio: "ignore" }));
    await using root = berthRoot();
    try {
      for (const name of [MACHINE1, IMPORT1]) await owned(bus.address, name);
      expect(await root.berth("daemon", "start")).toMatchObject({ status: 0 });
      const status = JSON.parse((await root.berth("daemon", "status", "--json")).stdout);
      for (const [name, path] of OBJECTS) {
        const theirs = members(await introspect(bus.address, name, path)).map(
          (line) => RENAMED.find(([from]) => from === line)?.[1] ?? line,
        );
        const ours = members(await introspect(status.bus, name, path));
        expect(theirs.length).toBeGreaterThan(9);
        expect({ path, missing: theirs.filter((line) => !ours.includes(line)) }).toEqual({ path, missing: [] });
        const more = ours.filter((line) => !theirs.includes(line) && !NEWER.test(line));
        expect({ path, more }).toEqual({ path, more: [] });
      }
    } finally {
      const ends = daemons.map((child) => new Promise((resolve) => child.once("exit", resolve)));
      for (const child of daemons) child.kill();
      await Promise.all(ends);
      await bus.remove();
    }
  });
});

/** Introspected of Debian 13's own daemons, 257.13, by busctl. */
describe("beside systemd 257", () => {
  test.each([
    ["machine1", MACHINE1, "/org/freedesktop/machine1"],
    ["machine", MACHINE1, "/org/freedesktop/machine1/machine/_2ehost"],
    ["import1", IMPORT1, "/org/freedesktop/import1"],
  ])("%s has the same members, and no others but what is newer", async (file, name, path) => {
    await using root = berthRoot();
    expect(await root.berth("daemon", "start")).toMatchObject({ status: 0 });
    const status = JSON.parse((await root.berth("daemon", "status", "--json")).stdout);
    const theirs = readFileSync(new URL(`../golden/systemd-257/${file}.xml`, import.meta.url), "utf8");
    const ours = members(await introspect(status.bus, name, path)).filter((line) => !OF_259.includes(line));
    expect(ours.toSorted()).toEqual(members(theirs).toSorted());
  });
});
