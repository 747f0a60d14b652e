import { join } from "node:path";
import { beforeAll, beforeEach, describe, expect, onTestFailed, test } from "vitest";
import { INSTALLATION } from "../../src/host/installation.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { type JobOptions, vm } from "../lib/vm.ts";

checkLeaks();

/** A guest under software emulation: minutes on a busy host. */
const PATIENCE = 30 * 60_000;

/** Each berth command takes seconds of an emulated processor, so what is waited for is read from the record. */
const FUNCTIONS = `
  record=/run/berth/running/debian/record.json
  leader() { sed -n 's/.*"leader":{"pid":\\([0-9]*\\).*/\\1/p' $record; }
  unit() { sed -n 's/.*"unit":"\\([^"]*\\)".*/\\1/p' $record; }
  # ready [BEFORE]: when a boot is, by another leader than that one
  ready() {
    until now=$(cat $record) && [[ $now == *'"ready":true'* && $now != *'"leader":{"pid":'\${1-none},* ]]; do sleep 0.2; done 2>/dev/null
  }
  inside() { berth exec debian -- sh -c "$1"; }
  # What a command finds when systemd has had its time to drop it.
  settled() {
    for i in $(seq 50); do [ -n "$("$@" 2>/dev/null)" ] || return 0; sleep 0.2; done
    "$@" | tr '\\n' ' '
  }
`;

/** Of the last guest. */
let output = "";
beforeEach(() => onTestFailed(() => console.log(output)));

/** Runs a script on the systemd host; every line that matters says `KEY=VALUE`. */
async function inGuest(script: string, more: JobOptions = {}): Promise<Map<string, string>> {
  const end = await vm.run(`set -u\n${FUNCTIONS}\n${script}`, { timeoutSeconds: 1200, ...more });
  output = end.output;
  expect(end.status, output).toBe(0);
  return new Map(
    output
      .split("\n")
      .flatMap((line) => [...line.matchAll(/^([A-Za-z_]+)=(.*)$/g)].map(([, key, value]) => [key ?? "", value ?? ""])),
  );
}

describe("a default machine", () => {
  let said = new Map<string, string>();
  beforeAll(async () => {
    said = await inGuest(`
    cd /
    berth start debian || exit 1
    inside 'echo "state=$(systemctl is-system-running)"
      echo "failed=$(systemctl --failed --no-legend --plain)"
      echo "inside=$(cat /sys/fs/cgroup/cgroup.controllers)"
      echo "entered=$(grep 0:: /proc/self/cgroup)"'
    scope=/sys/fs/cgroup/machine.slice/machine-debian.scope
    # Its systemd has enabled controllers for its slices: payload/ is no leaf any more.
    echo "enabled=$(cat $scope/payload/cgroup.subtree_control)"
    echo "supervisor=$(grep -l . /proc/[0-9]*/cgroup 2>/dev/null | while read -r f; do grep -q machine-debian.scope/supervisor $f && cat \${f%cgroup}comm; done | sort -u)"
    echo "limits_owner=$(stat -c %U $scope/memory.max)"
    echo "delegated_owner=$(stat -c %u $scope/payload/cgroup.procs)"
    mkdir -p /srv/data/sub; echo of the host >/srv/data/file; chown 1000:1001 /srv/data/file
    truncate -s 50M /srv/data/sparse; mount -t tmpfs tmpfs /srv/data/sub
    berth bind debian /srv/data /mnt --read-only; echo "bind=$?"
    inside 'echo "read=$(cat /mnt/file)"; mount -o remount,bind,rw /mnt 2>/dev/null || umount /mnt/sub 2>/dev/null || touch /mnt/new 2>/dev/null; echo "locked=$?"'
    berth unbind debian /tmp 2>/dev/null; echo "other=$?"
    berth unbind debian /mnt; echo "unbind=$?"
    berth copy-to debian /srv/data /srv/copy; echo "to=$?"
    inside 'echo "after=$(ls -A /mnt)"; echo "owner=$(stat -c %u:%g /srv/copy/file)"; echo "blocks=$(stat -c %b /srv/copy/sparse)"'
    berth copy-from debian /srv/copy /srv/back; echo "from=$?"
    echo "back=$(stat -c %u:%g:%s /srv/back/file)"
    echo "same=$(cmp /srv/data/sparse /srv/back/sparse && echo yes)"
    first=$(leader)
    echo "leader_is_listed=$(berth list --json | grep -c 'leader": '$first'\\b')"
    inside 'systemctl reboot'
    ready $first
    inside 'echo "again=$(systemctl is-system-running)"'
    berth poweroff debian; echo "poweroff=$?"
    echo "left=$(berth list --json | tr -d '\\n ')"
    echo "scope_left=$(settled ls -d $scope)"
    echo "host=$(systemctl is-system-running)"
  `);
  }, PATIENCE);

  test("boots to running in a scope, hands its controllers down, is entered, reboots, powers off", () => {
    expect(said.get("state")).toBe("running");
    expect(said.get("failed")).toBe("");
    expect(said.get("inside")).toMatch(/\bmemory\b.*\bpids\b/);
    expect(said.get("enabled")).toMatch(/\bmemory\b.*\bpids\b/);
    expect(said.get("entered")).toMatch(/^0::\/init\.scope/);
    expect(said.get("supervisor")).toBe("berth-keeper");
    expect(said.get("limits_owner")).toBe("root");
    expect(Number(said.get("delegated_owner"))).toBeGreaterThanOrEqual(524288);
    expect(said.get("leader_is_listed")).toBe("1");
    expect(said.get("again")).toBe("running");
    expect(said.get("poweroff")).toBe("0");
    expect(said.get("left")).toBe("[]");
    expect(said.get("scope_left")).toBe("");
    expect(said.get("host")).toBe("running");
  });

  test("has what is bound and copied while it runs as on newer kernels, locked, sparse, and with its owners", () => {
    expect(Object.fromEntries(said)).toMatchObject({
      ...{ bind: "0", read: "of the host", locked: "1", other: "1", unbind: "0", after: "" },
      ...{ to: "0", owner: "1000:1001", blocks: "0", from: "0", back: "1000:1001:12", same: "yes" },
    });
  });
});

test(
  "out of memory during a launch ends the launch with a reason and not the launcher",
  async () => {
    const said = await inGuest(`
    cd /
    mkdir -p /run/systemd/system/machine-debian.scope.d
    # Too little for a launch: something of it is killed before or just after exec.
    for max in 128K 256K 512K; do
      printf '[Scope]\\nMemoryMax=%s\\nMemorySwapMax=0\\n' $max >/run/systemd/system/machine-debian.scope.d/limit.conf
      systemctl daemon-reload
      said=$(timeout 120 berth run -M debian -b --console=passive 2>&1 </dev/null | tr '\\n' ' ')
      echo "run_$(echo $max | tr 0-9K a-jk)=$said"
    done
    dmesg | grep -ci 'memory cgroup out of memory' | sed 's/^/ooms=/'
    rm -r /run/systemd/system/machine-debian.scope.d; systemctl daemon-reload
    echo "left=$(berth list --json | tr -d '\\n ')"
    echo "processes=$(pgrep -c berth-keeper)"
    berth run -M debian -- /bin/true; echo "after=$?"
  `);
    const runs = [...said].filter(([key]) => key.startsWith("run_")).map(([, text]) => text);
    expect(runs).toHaveLength(3);
    // Which process the kernel picks differs: whose end berth sees, or whom the keeper finds gone.
    for (const text of runs) expect(text).toMatch(/killed by SIGKILL|it was killed, most likely by the kernel/);
    expect(Number(said.get("ooms"))).toBeGreaterThan(0);
    expect(said.get("left")).toBe("[]");
    expect(said.get("processes")).toBe("0");
    expect(said.get("after")).toBe("0");
  },
  PATIENCE,
);

test(
  "a caller's hard limits of processes and signals are not the machine's, where root may raise them",
  async () => {
    const said = await inGuest(`
    cd /
    echo "half=$(($(cat /proc/sys/kernel/threads-max) / 2))"
    limits=$(bash -c 'ulimit -u 0; ulimit -i 1; exec berth run -q -M debian --pipe -- sh -c "/bin/true; cat /proc/self/limits"')
    echo "processes=$(echo "$limits" | sed -n 's/^Max processes *//p' | tr -s ' ')"
    echo "signals=$(echo "$limits" | sed -n 's/^Max pending signals *//p' | tr -s ' ')"
  `);
    const half = said.get("half");
    expect(Number(half)).toBeGreaterThan(0);
    expect(said.get("processes")).toBe(`${half} ${half} processes `);
    expect(said.get("signals")).toBe(`${half} ${half} signals `);
  },
  PATIENCE,
);

test(
  "--slice=, --property=: the scope is in that slice and has those properties, and systemd says which it does not take",
  async () => {
    const said = await inGuest(`
    cd /
    unit=machine-debian.scope
    berth run -q -M debian --slice=web-front --property=MemoryMax=100M --property='CPUWeight=7' --property=TasksMax=77 \\
      -- sh -c 'sleep 1000 & echo up; wait' </dev/null >/tmp/out 2>&1 &
    until grep -q up /tmp/out; do sleep 0.1; done
    systemctl show $unit -p Slice -p MemoryMax -p CPUWeight -p TasksMax -p ControlGroup -p Delegate
    cgroup=/sys/fs/cgroup/web.slice/web-front.slice/$unit
    echo "unit=$(unit)"
    echo "memory_max=$(cat $cgroup/memory.max)"
    echo "pids_max=$(cat $cgroup/pids.max)"
    echo "sleep_is_in=$(grep -l sleep /proc/[0-9]*/comm | while read -r f; do grep -o 'web.slice.*' $(dirname $f)/cgroup; done | sort -u)"
    echo "inside=$(berth exec debian -- cat /sys/fs/cgroup/cgroup.controllers)"
    berth terminate debian; wait
    echo "left=$(settled ls -d $cgroup /run/systemd/transient/$unit* /run/systemd/system.control/$unit*)"
    for wrong in MemoryMax=lots NoSuch=1 Delegate=no; do
      echo "wrong_$(echo $wrong | tr -cd A-Za-z)=$(berth run -q -M debian --property=$wrong -- true 2>&1 </dev/null | tr '\\n' ' ')"
    done
    echo "scopes_left=$(settled systemctl list-units --all --plain --no-legend 'machine-*')"
    berth run -q -M debian -- /bin/true </dev/null; echo "after=$?"
  `);
    expect(said.get("Slice")).toBe("web-front.slice");
    expect(said.get("MemoryMax")).toBe(String(100 * 1024 * 1024));
    expect(said.get("CPUWeight")).toBe("7");
    expect(said.get("TasksMax")).toBe("77");
    expect(said.get("Delegate")).toBe("yes");
    const path = "/web.slice/web-front.slice/machine-debian.scope";
    expect(said.get("ControlGroup")).toBe(path);
    expect(said.get("unit")).toBe("machine-debian.scope");
    expect(said.get("memory_max")).toBe(String(100 * 1024 * 1024));
    expect(said.get("pids_max")).toBe("77");
    expect(said.get("sleep_is_in")).toBe(`${path.slice(1)}/payload`);
    expect(said.get("inside")).toMatch(/\bmemory\b.*\bpids\b/);
    expect(said.get("left")).toBe("");
    const refused =
      /^berth: starting debian failed at step #\d+ .*: systemd would not set (?:MemoryMax|NoSuch|Delegate)=/;
    for (const name of ["MemoryMaxlots", "NoSuch", "Delegateno"]) expect(said.get(`wrong_${name}`)).toMatch(refused);
    expect(said.get("scopes_left")).toBe("");
    expect(said.get("after")).toBe("0");
  },
  PATIENCE,
);

test(
  "--keep-unit: the machine is in the service that berth runs in, boots, reboots and leaves it; other places are refused",
  async () => {
    const said = await inGuest(`
    cd /
    berth=$(command -v berth)
    service() { systemd-run -q --unit=$1 -p Delegate=$2 --service-type=exec "\${@:3}"; }
    service kept yes sh -c "$berth run -M debian --keep-unit -b --notify-ready=yes --console=passive & wait"
    ready
    cgroup=/sys/fs/cgroup/system.slice/kept.service
    inside 'echo "state=$(systemctl is-system-running --wait)"
      echo "inside=$(cat /sys/fs/cgroup/cgroup.controllers)"'
    echo "scopes=$(systemctl list-units --all --plain --no-legend 'machine-*' | tr '\\n' ' ')"
    echo "unit=$(unit)"
    echo "unit_processes=$(cat $cgroup/cgroup.procs | wc -l)"
    echo "supervisor=$(cat $(sed 's,^,/proc/,;s,$,/comm,' $cgroup/supervisor/cgroup.procs) | sort -u | tr '\\n' ' ')"
    # Whoever calls may have lower hard limits than the service.
    echo "few_files=$(bash -c 'ulimit -n 200; exec berth exec debian -- sh -c "ulimit -Hn"')"
    first=$(leader)
    echo "leader_is_in=$(grep -o 'kept.service/payload' /proc/$first/cgroup)"
    inside 'systemctl reboot'
    ready $first
    inside 'echo "again=$(systemctl is-system-running --wait)"
      echo "inside_again=$(cat /sys/fs/cgroup/cgroup.controllers)"'
    echo "second=$(systemd-run -q --wait --pipe -p Delegate=yes $berth run -q -D /var/lib/machines/debian -M other -x --keep-unit -- sh -c 'echo ran' | tr -d '\\r')"
    systemctl stop kept; systemctl show kept -p ActiveState
    echo "list=$(berth list --json | tr -d '\\n ')"
    echo "cgroup_left=$(ls -d $cgroup 2>/dev/null)"
    echo "undelegated=$(systemd-run -q --wait --pipe $berth run -q -M debian --keep-unit -- true 2>&1 | tr '\\n' ' ')"
    echo "killed=$(systemd-run -q --wait --pipe -p Delegate=yes sh -c "$berth run -q -M debian --keep-unit -- sh -c 'echo up; sleep 1000' >/tmp/said & until grep -q up /tmp/said; do sleep 0.1; done; kill -9 \\$!; cat /tmp/said; sleep 1; $berth run --cleanup; ls -d /sys/fs/cgroup/system.slice/run-*/payload" 2>&1 | tr -d '\\r' | tr '\\n' ' ')"
    berth run -q -M debian -- /bin/true </dev/null; echo "after=$?"
  `);
    expect(said.get("state")).toBe("running");
    expect(said.get("scopes")).toBe("");
    expect(said.get("unit")).toBe("kept.service");
    expect(said.get("unit_processes")).toBe("0");
    expect(said.get("supervisor")).toMatch(/berth-keeper.*sh /);
    expect(said.get("inside")).toMatch(/\bmemory\b.*\bpids\b/);
    expect(said.get("few_files")).toBe("524288");
    expect(said.get("leader_is_in")).toBe("kept.service/payload");
    expect(said.get("again")).toBe("running");
    expect(said.get("inside_again")).toBe(said.get("inside"));
    expect(said.get("second")).toBe("ran");
    expect(said.get("ActiveState")).toMatch(/inactive|failed/);
    expect(said.get("list")).toBe("[]");
    expect(said.get("cgroup_left")).toBe("");
    expect(said.get("undelegated")).toMatch(/run-.*\.service has no cgroups of its own to give.*Delegate=yes/);
    expect(said.get("killed")).toMatch(/up .*cleaned up after machine debian.*No such file/);
    expect(said.get("after")).toBe("0");
  },
  PATIENCE,
);

test(
  "berthd.service: killed with SIGKILL it comes back, and the machine was never away: exec, console, reboot, exit status",
  async () => {
    const said = await inGuest(
      `
    cd /
    sed "s,^ExecStart=.*,ExecStart=$(command -v berthd)," /job/berthd.service >/run/systemd/system/berthd.service
    systemctl daemon-reload; systemctl start berthd || exit 1
    daemon() { systemctl show berthd -p MainPID --value; }
    berth start debian || exit 1
    scope=/sys/fs/cgroup/machine.slice/machine-debian.scope
    first=$(daemon) machine=$(leader)
    kill -9 $first
    for i in $(seq 300); do [ "$(systemctl is-active berthd)" = active ] && [ "$(daemon)" != $first ] && break; sleep 0.1; done
    echo "daemon_is_new=$([ "$(daemon)" != $first ] && echo yes)"
    echo "same_machine=$(berth list --json | grep -c 'leader": '$machine'\\b')"
    inside 'echo "state=$(systemctl is-system-running --wait)"
      echo "limits=$(cat /sys/fs/cgroup/cgroup.controllers)"
      echo on the console >/dev/console'
    echo "exec=$(berth exec debian -- sh -c 'echo out; echo err >&2; exit 9' 2>/dev/null; echo $?)" | tr '\\n' ' '; echo
    berth set-property debian MemoryMax=300M && echo "memory_max=$(cat $scope/memory.max)"
    echo "console=$(berth logs debian | grep -c 'on the console')"
    berth pause debian; echo "frozen=$(cat $scope/payload/cgroup.freeze)"; berth resume debian
    berth reboot debian; berth wait debian running; echo "wait=$?"
    echo "rebooted=$([ "$(leader)" != $machine ] && echo yes)"
    inside 'echo "again=$(systemctl is-system-running --wait)"'
    # At any other moment, and twice.
    kill -9 $(daemon); sleep 0.3; berth exec debian -- poweroff
    for i in $(seq 300); do [ "$(systemctl is-active berthd)" = active ] && break; sleep 0.1; done
    berth wait debian stopped; echo "stopped=$?"
    echo "why=$(berth why debian | head -n 1)"
    echo "left=$(berth list --json | tr -d '\\n ')"
    echo "scope_left=$(settled ls -d $scope)"
    # One that need not boot, as that takes the emulated processor longer than all else.
    mkdir -p /etc/berth/machines
    printf '[Exec]\\nBoot=no\\nParameters=sh -c "trap exit TERM; sleep 1000 & wait"\\nKillSignal=SIGTERM\\n' >/etc/berth/machines/debian.nspawn
    berth start debian; echo "start=$?"
    systemctl stop berthd; echo "goes_on=$(pgrep -c berth-keeper)"
    systemctl start berthd; berth poweroff debian; echo "poweroff=$?"
    systemctl stop berthd; systemctl show berthd -p Result
    echo "host=$(systemctl is-system-running)"
  `,
      { directory: join(INSTALLATION, "units") },
    );
    expect(said.get("daemon_is_new")).toBe("yes");
    expect(said.get("same_machine")).toBe("1");
    expect(said.get("state")).toBe("running");
    expect(said.get("exec")).toBe("out 9 ");
    expect(said.get("limits")).toMatch(/\bmemory\b.*\bpids\b/);
    expect(said.get("memory_max")).toBe(String(300 * 1024 * 1024));
    expect(Number(said.get("console"))).toBeGreaterThan(0);
    expect(said.get("frozen")).toBe("1");
    expect(said.get("wait")).toBe("0");
    expect(said.get("rebooted")).toBe("yes");
    expect(said.get("again")).toBe("running");
    expect(said.get("stopped")).toBe("0");
    expect(said.get("why")).toMatch(/debian/);
    expect(said.get("left")).toBe("[]");
    expect(said.get("scope_left")).toBe("");
    expect(said.get("start")).toBe("0");
    expect(said.get("goes_on")).toBe("1");
    expect(said.get("poweroff")).toBe("0");
    expect(said.get("Result")).toBe("success");
    expect(said.get("host")).toBe("running");
  },
  PATIENCE,
);
