/** Machines in whose networks somebody puts links: their addresses are told, also by the next daemon, and they are reached by them. */
import { execFileSync, spawnSync } from "node:child_process";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, expect, test } from "vitest";
import { type BerthRoot, berthRoot, buildBerth, poll } from "../lib/berth.ts";
import { killDaemon } from "../lib/daemon.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { machinectlOn } from "../lib/machinectl.ts";
import { enterOwnNetwork } from "../lib/own-network.ts";
import { needs } from "../lib/requires.ts";
import { shellMachine } from "../lib/shell-machine.ts";

const ready = needs(
  "root",
  "userns",
  "cgroup2",
  "cc",
  "tool:ip",
  "tool:python3",
  "tool:busctl",
  "tool:machinectl",
  "no-systemd",
);
checkLeaks();
beforeAll(() => {
  if (!ready) return;
  buildBerth();
  enterOwnNetwork();
});

const PORT = 7070;
const SERVE = `python3 -c 'import socket
s = socket.create_server(("", ${PORT}))
print("serves", flush=True)
while True:
    c, a = s.accept(); c.sendall(("from %s" % a[0]).encode()); c.close()'`;

const ip = (...words: string[]): void => void execFileSync("ip", words);

function inNetworkOf(root: BerthRoot, name: string, ...words: string[]): void {
  execFileSync("nsenter", [`--net=/proc/${root.record(name)?.leader.pid}/ns/net`, "ip", ...words]);
}

const addressesOf = async (root: BerthRoot): Promise<unknown> =>
  (JSON.parse((await root.berth("list", "--json")).stdout) as readonly Record<"name" | "addresses", unknown>[]).map(
    ({ name, addresses }) => [name, addresses],
  );

/** An IPv6 address takes the kernel a moment before it can be used. */
async function toldOf(root: BerthRoot, wanted: unknown): Promise<void> {
  for (const deadline = performance.now() + 20_000; performance.now() < deadline; await sleep(20))
    if (JSON.stringify(await addressesOf(root)) === JSON.stringify(wanted)) return;
  expect(JSON.stringify(await addressesOf(root))).toBe(JSON.stringify(wanted));
}

/** What a machine answers who connects to it. */
const ask = (host: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host, port: PORT });
    socket.setEncoding("utf8").once("data", (text) => resolve(String(text)));
    socket.once("error", reject);
  });

/** Columns that both have, as a script splits them. */
async function asMachinectlLists(root: BerthRoot): Promise<void> {
  const machinectl = machinectlOn(root);
  const own = ["STATE", "INIT", "LEADER", "NOTE"];
  for (const words of [[], ["--max-addresses=all"], ["--max-addresses", "0"]]) {
    const theirs = (await machinectl("list", ...words)).stdout.split("\n\n")[0] ?? "";
    const ours = (await root.berth("list", ...words)).stdout;
    expect([words, cut(ours, own)]).toEqual([words, cut(theirs, [])]);
  }
  expect((await root.berth("-l", "list", "--no-legend")).stdout).toMatch(/^m .* 10\.231\.7\.2 .*\n +fd00:231::2\nn /);
  const theirs: readonly object[] = JSON.parse((await machinectl("list", "-o", "json")).stdout);
  expect(theirs).toHaveLength(2);
  for (const mode of ["json", "json-pretty"])
    expect(JSON.parse((await root.berth("list", "-o", mode)).stdout)).toMatchObject(theirs);
}

/** By where a column begins; without those of these names. */
function cut(text: string, without: readonly string[]): readonly (readonly string[])[] {
  const [header = "", ...rows] = text.trimEnd().split("\n");
  const columns = [...header.matchAll(/\S+/g)].map(([name], at, all) => ({
    name,
    at: all[at]?.index,
    end: all[at + 1]?.index,
  }));
  const wanted = columns.filter(({ name }) => !without.includes(name));
  return [header, ...rows].map((row) => wanted.map(({ at, end }) => row.slice(at, end).trim()));
}

/** Outside, and what becomes the machine's. */
const [OUTER, INNER] = ["outer", "inner"];

test("a veth link and a macvlan: list, show, status and GetMachineAddresses tell the addresses, and they are reached", async () => {
  await using root = berthRoot();
  await shellMachine(root, "n");
  await shellMachine(root, "m", `${SERVE} & trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done`);
  for (const name of ["m", "n"]) expect(await root.berth("start", name)).toMatchObject({ status: 0 });
  expect(await addressesOf(root)).toEqual([
    ["m", []],
    ["n", []],
  ]);
  const leader = (name: string): string => `${root.record(name)?.leader.pid}`;
  ip("link", "add", OUTER, "type", "veth", "peer", "name", INNER);
  try {
    ip("addr", "add", "10.231.7.1/24", "dev", OUTER);
    ip("link", "set", OUTER, "up");
    ip("link", "set", INNER, "netns", leader("m"), "name", "host0");
    inNetworkOf(root, "m", "link", "set", "host0", "addrgenmode", "none");
    inNetworkOf(root, "m", "link", "set", "host0", "up");
    inNetworkOf(root, "m", "addr", "add", "10.231.7.2/24", "dev", "host0");
    inNetworkOf(root, "m", "addr", "add", "fd00:231::2/64", "dev", "host0", "nodad");
    // Of the same link, for the other machine.
    ip("link", "add", `${OUTER}m`, "link", OUTER, "type", "macvlan", "mode", "bridge");
    ip("link", "set", `${OUTER}m`, "netns", leader("n"), "name", "mv-host");
    // Of its link alone it would have an address a moment later.
    inNetworkOf(root, "n", "link", "set", "mv-host", "addrgenmode", "none");
    inNetworkOf(root, "n", "link", "set", "mv-host", "up");
    inNetworkOf(root, "n", "addr", "add", "10.231.7.3/24", "dev", "mv-host");
    const wanted = [
      ["m", ["10.231.7.2", "fd00:231::2"]],
      ["n", ["10.231.7.3"]],
    ];
    await toldOf(root, wanted);
    await poll("the server", () => (root.consoleLog("m").includes("serves") ? true : undefined));
    expect(await ask("10.231.7.2")).toBe("from 10.231.7.1");
    const fromN = await root.berth("exec", "n", "--", "bash", "-c", `cat </dev/tcp/10.231.7.2/${PORT}`);
    expect(fromN.stdout).toBe("from 10.231.7.3");
    expect((await root.berth("status", "m")).stdout).toMatch(/^ {2}Address 10\.231\.7\.2\n +fd00:231::2$/m);
    expect((await root.berth("show", "n", "-p", "Addresses")).stdout).toBe("Addresses=10.231.7.3\n");
    await asMachinectlLists(root);
    await killDaemon(root);
    expect(await addressesOf(root)).toEqual(wanted);
    expect((await root.berth("daemon", "start")).status).toBe(0);
    expect(await addressesOf(root)).toEqual(wanted);
    expect((await root.berth("daemon", "status")).status).toBe(0);
    const manager = ["org.freedesktop.machine1", "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager"];
    const call = ["call", ...manager, "GetMachineAddresses", "s", "m"];
    const answer = spawnSync("busctl", [`--address=unix:path=${root.bus}`, ...call], { encoding: "utf8" });
    expect(answer.stdout.trim()).toBe("a(iay) 2 2 4 10 231 7 2 10 16 253 0 2 49 0 0 0 0 0 0 0 0 0 0 0 2");
    expect(await ask("10.231.7.2")).toBe("from 10.231.7.1");
  } finally {
    spawnSync("ip", ["link", "del", OUTER]);
  }
  expect(await addressesOf(root)).toEqual([
    ["m", []],
    ["n", []],
  ]);
  for (const name of ["m", "n"]) expect((await root.berth("terminate", name)).status).toBe(0);
});
