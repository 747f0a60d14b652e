/** The daemon of the host's own root on the host's bus, in a /run of its own: what the host's programs find of its machines. */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { BERTH, berthRoot, buildBerth } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";
import { debianTree } from "../lib/trees.ts";

const ready = needs(
  "root",
  "userns",
  "cgroup2",
  "tool:mmdebstrap",
  "tool:dbus-daemon",
  "tool:machinectl",
  "no-systemd",
);
checkLeaks();
beforeAll(async () => {
  if (!ready) return;
  buildBerth();
  await debianTree("bookworm");
}, 15 * 60_000);

const CONFIG = `<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
`;

/** $1: a directory with trees, $2: berth. systemctl(1) and others want a host that systemd runs; the daemon would leave the names to it. */
const SCRIPT = `
mount -t tmpfs tmpfs /run
mkdir -p /run/dbus /run/lock /run/systemd
dbus-daemon --config-file="$1/bus.conf" --nopidfile --nofork 2>/dev/null &
bus=$!
until [ -S /run/dbus/system_bus_socket ]; do sleep 0.05; done
unset BERTH_ROOT BERTH_RUN DBUS_SYSTEM_BUS_ADDRESS
export BERTH_MACHINES="$1/machines" BERTH_ETC="$1/etc"
"$2" start deb 2>/dev/null
"$2" daemon status --json | grep '"bus"'
sed -n '/^NAME\\|^SERVICE\\|^CLASS/p' /run/systemd/machines/deb
mkdir /run/systemd/system
systemctl -M deb is-system-running --wait
journalctl -q -M deb -n 1 --no-pager -o cat >/dev/null && echo journal
loginctl -M deb list-users --no-legend >/dev/null && echo sessions
"$2" poweroff deb
ls /run/systemd/machines
"$2" daemon stop
kill $bus
wait $bus
`;

test("systemctl, journalctl and loginctl of the host reach a machine", { timeout: 200_000 }, async () => {
  await using root = berthRoot();
  execFileSync("cp", ["-a", "--reflink=auto", await debianTree("bookworm"), join(root.machines, "deb")]);
  writeFileSync(join(root.path, "bus.conf"), CONFIG);
  const env = { BERTH_RUN: "", BERTH_ROOT: "", DBUS_SYSTEM_BUS_ADDRESS: "" };
  const end = await root.spawn(["unshare", "-m", "sh", "-c", SCRIPT, "sh", root.path, BERTH], { env }).end;
  expect(end.stdout.split("\n").map((line) => line.trim())).toEqual([
    '"bus": "unix:path=/run/dbus/system_bus_socket",',
    "NAME=deb",
    "SERVICE=berth",
    "CLASS=container",
    "running",
    "journal",
    "sessions",
    "",
  ]);
});
