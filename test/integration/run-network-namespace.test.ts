/** NamespacePath=: the machine's network is a namespace that exists already. */
import { execFileSync } from "node:child_process";
import { readlinkSync, statSync } from "node:fs";
import { expect, test } from "vitest";
import { berthRoot } from "../lib/berth.ts";
import { interview } from "../lib/interview.ts";
import { probe } from "../lib/probe.ts";
import { setUpProbe } from "../lib/set-up.ts";

const { tree } = setUpProbe({ init: true }, "tool:ip");

/** Of `ip netns`, with an interface that no other has. */
function namespace(): Disposable & { readonly path: string; readonly link: string } {
  const name = `berth-test-${process.pid}`;
  const ip = (...words: readonly string[]) => execFileSync("ip", words, { stdio: "pipe" });
  ip("netns", "add", name);
  ip("-n", name, "link", "add", "inside7", "type", "veth", "peer", "name", "inside8");
  const path = `/run/netns/${name}`;
  return {
    path,
    link: `net:[${statSync(path).ino}]`,
    [Symbol.dispose]: () => void ip("netns", "del", name),
  };
}

test.each(["pick", "no"])(
  "NamespacePath=: the machine is in it, with PrivateUsers=%s, and so is what joins it",
  async (users) => {
    await using root = berthRoot();
    using network = namespace();
    root.settings(
      "m",
      `[Exec]\nPrivateUsers=${users}\nKillSignal=SIGRTMIN+3\n[Network]\nNamespacePath=${network.path}`,
    );
    const talk = interview({
      namespaces: ["namespaces"],
      net: ["net"],
      sys: ["ls", "/sys/class/net"],
      remount: ["remount-rw", "/sys"],
      write: ["write", "/sys/class/net/lo/mtu", "1400"],
    });
    const { stdout, stderr } = await root.run(tree, ["-x", "-M", "m"], talk.command);
    const answers = talk.answers(stdout);
    expect(answers.line("namespaces")["net"]).toBe(network.link);
    expect(network.link).not.toBe(readlinkSync("/proc/self/ns/net"));
    expect(answers.text("sys")).toContain("inside7");
    expect(answers.text("sys")).toContain("inside8");
    expect(answers.text("net")).toContain("inside7");
    // Without a user namespace root inside may do what root may.
    if (users !== "no") {
      expect(answers.errors(["remount"])["remount"]).toMatch(/EPERM|EACCES|EINVAL/);
      expect(answers.errors(["write"])["write"]).toMatch(/EROFS|EACCES|EPERM/);
    }
    expect(stderr).toContain(
      `it shares the network of ${network.path}, abstract sockets included, with all others there`,
    );

    await using child = root.start("run", "-b", "-x", "-D", tree, "-M", "m");
    await child.until(/up/);
    await root.recordWhen("m", ({ ready }) => ready === true);
    const joined = await root.berth("exec", "m", ...probe("namespaces"));
    expect(joined.stdout).toContain(network.link);
    expect(await root.berth("poweroff", "m")).toMatchObject({ status: 0 });
  },
);

test("--network-namespace-path: what is no network namespace is refused, and so is Private=yes beside it", async () => {
  await using root = berthRoot();
  const run = (...words: readonly string[]) => root.run(tree, ["-x", "-M", "m", ...words], probe("cwd"));
  for (const [path, said] of [
    ["/proc/self/ns/mnt", /\/proc\/self\/ns\/mnt is no network namespace but mnt:\[/],
    ["/etc/passwd", /\/etc\/passwd is no network namespace/],
    ["/run/netns/berth-none", /can't be opened: ENOENT.*\n.*ip netns add berth-none/],
  ] as const) {
    const { status, stdout, stderr } = await run(`--network-namespace-path=${path}`);
    expect([status, stdout]).toEqual([125, ""]);
    expect(stderr).toMatch(said);
  }
  const both = await run("--network-namespace-path=/proc/self/ns/net", "--private-network");
  expect(both).toMatchObject({ status: 2, stdout: "" });
  expect(both.stderr).toContain("can't both be the machine's");
  // Of this process: the host's.
  const hosts = await run(`--network-namespace-path=/proc/${process.pid}/ns/net`);
  expect(hosts).toMatchObject({ status: 0 });
});
