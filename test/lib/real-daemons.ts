/**
 * The real systemd-machined and systemd-importd on a test bus, each in mount namespaces of its own: with images and a machine
 * that are theirs alone, they change nothing of the host.
 *
 *   const ready = needs("root", ...REAL_DAEMONS);
 *   beforeAll(() => prepareRealDaemons(ready), PREPARING_MS);
 *   await using real = await realDaemons("", { m: leader.pid }, ["web"]);      // the host's; else those in the tree of another Debian
 *   Connection.open(real.address)
 */
import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { Connection } from "../../src/bus/connection.ts";
import { buildBerth } from "./berth.ts";
import { startTestBus } from "./test-bus.ts";
import { trixieTree } from "./trixie-machinectl.ts";

export const REAL_DAEMONS = ["tool:dbus-daemon", "tool:mmdebstrap", "systemd-nspawn", "no-systemd"] as const;
/** The tree of Debian 13 is made once. */
export const PREPARING_MS = 15 * 60_000;

/** berth, and the trees whose daemons are compared with it. */
export async function prepareRealDaemons(ready: boolean): Promise<void> {
  if (!ready) return;
  buildBerth();
  await trixieTree();
}

/** Where those of 252 are: the host's own, which is Debian 12. */
export const hostTree = async (): Promise<string> => "";

export interface RealDaemons extends AsyncDisposable {
  /** Of their bus. */
  readonly address: string;
}

/** $1: the tree, or nothing; $2: a daemon; $3: images; then names of machines and their leaders. They are known by their state files. */
const SCRIPT = `
tree=$1 daemon=$2 images=$3
shift 3
[ -z "$tree" ] || for each in /tmp /proc /dev; do mount --rbind "$each" "$tree$each"; done
for each in run var/lib; do mount -t tmpfs tmpfs "$tree/$each"; done
for each in $images; do mkdir -p "$tree/var/lib/machines/$each/usr"; done
[ -s "$tree/etc/machine-id" ] || echo 0123456789abcdef0123456789abcdef >"$tree/etc/machine-id"
mkdir -p "$tree/run/systemd/machines"
while [ $# -gt 1 ]; do
  printf 'NAME=%s\\nSCOPE=machine-%s.scope\\nSERVICE=test\\nLEADER=%s\\nCLASS=container\\nROOT=/\\n' "$1" "$1" "$2" >"$tree/run/systemd/machines/$1"
  shift 2
done
[ -z "$tree" ] || exec chroot "$tree" "/usr/lib/systemd/$daemon"
exec "/lib/systemd/$daemon"
`;

const NAMES = { "systemd-machined": "machine1", "systemd-importd": "import1" } as const;

export async function realDaemons(
  tree: string,
  machines: Readonly<Record<string, number>>,
  images: readonly string[],
): Promise<RealDaemons> {
  const bus = await startTestBus();
  const env = { ...process.env, DBUS_SYSTEM_BUS_ADDRESS: bus.address };
  const known = Object.entries(machines).flatMap(([name, leader]) => [name, String(leader)]);
  const daemons: ChildProcess[] = Object.keys(NAMES).map((name) =>
    spawn("unshare", ["-m", "sh", "-ec", SCRIPT, "sh", tree, name, images.join(" "), ...known], {
      env,
      stdio: "ignore",
    }),
  );
  const dispose = async (): Promise<void> => {
    const ends = daemons.map(
      (child) =>
        new Promise((resolve) =>
          (child.exitCode ?? child.signalCode) === null ? child.once("exit", resolve) : resolve(0),
        ),
    );
    for (const child of daemons) child.kill();
    await Promise.all(ends);
    await bus.remove();
  };
  try {
    for (const name of Object.values(NAMES)) await owned(bus.address, `org.freedesktop.${name}`);
  } catch (error) {
    await dispose();
    throw error;
  }
  return { address: bus.address, [Symbol.asyncDispose]: dispose };
}

async function owned(address: string, name: string): Promise<void> {
  const connection = await Connection.open(address);
  const peer = {
    destination: name,
    path: "/",
    interface: "org.freedesktop.DBus.Peer",
    member: "Ping",
    in: "",
    args: [],
    out: "",
  };
  try {
    for (let tries = 0; ; tries++) {
      try {
        await connection.call(peer);
        return;
      } catch (error) {
        if (tries > 200) throw error;
        await sleep(20);
      }
    }
  } finally {
    connection.close();
    await connection.ended;
  }
}
