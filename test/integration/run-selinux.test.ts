/**
 * SELinux contexts as far as a host without SELinux can show them: refused where they are asked for, and handed to the
 * kernel where berth is made to believe that it is on.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { contextOption } from "../../src/config/selinux.ts";
import { berthRoot, buildBerth } from "../lib/berth.ts";
import { testMachine } from "../lib/launch.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
const here = ready && !existsSync("/sys/fs/selinux/enforce");
checkLeaks();

let tree = "";
beforeAll(async () => {
  if (!ready) return;
  buildBerth();
  tree = await probeTree();
});

test.runIf(here).each([
  ["--selinux-context", "-Zu:r:t:s0"],
  ["--selinux-apifs-context", "-Lu:r:t:s0"],
])("--selinux-context and --selinux-apifs-context are refused where SELinux is off: %s", async (name, option) => {
  await using root = berthRoot();
  const { status, stdout, stderr } = await root.berth("run", "-D", tree, option, "--", "/bin/true");
  expect([status, stdout]).toEqual([125, ""]);
  expect(stderr).toMatch(/^berth: --selinux-\S+: SELinux is off on this host: there are no contexts\nhint: .*\n$/);
  expect(stderr).toContain(`${name}=u:r:t:s0`);
});

describe.runIf(here).each([["yes"], ["no"]])("PrivateUsers=%s", (users) => {
  const settings = `[Exec]\nPrivateUsers=${users === "no" ? "no" : "pick"}\n`;
  const context = "u:r:t:s0:c1,c2";
  const selinux = {
    "--selinux-context": { selinuxContext: contextOption("--selinux-context", context) },
    "--selinux-apifs-context": { selinuxApifsContext: contextOption("--selinux-apifs-context", context) },
  };
  test.each([
    ["--selinux-context", /labelled u:r:t:s0:c1,c2\): write u:r:t:s0:c1,c2: EINVAL.*\[--selinux-context=u:r:t/],
    ["--selinux-apifs-context", /fsconfig context u:r:t:s0:c1,c2: EINVAL.*\[--selinux-apifs-context=u:r:t/],
  ] as const)("%s reaches the kernel, which knows no such context here", async (option, message) => {
    const directory = mkdtempSync(join(tmpdir(), "selinux-"));
    try {
      const machine = testMachine({
        ...{ directory, root: tree, settings, selinux: selinux[option] },
        command: probe("cwd"),
        host: { selinux: true },
      });
      const launch = machine.launch();
      await expect(launch.run()).rejects.toThrow(message);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
