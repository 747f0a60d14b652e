/**
 * SELinux contexts as far as a host without SELinux can show them: refused where they are asked for, and handed to the
 * kernel where berth is made to believe that it is on.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { contextOption } from "../../src/config/selinux.ts";
import { berthRoot } from "../lib/berth.ts";
import { testMachine } from "../lib/launch.ts";
import { probe } from "../lib/probe.ts";
import { setUpProbe } from "../lib/set-up.ts";

const { tree } = setUpProbe({}, "no-selinux");

test.each([
  ["--selinux-context", "-Zu:r:t:s0"],
  ["--selinux-apifs-context", "-Lu:r:t:s0"],
])("--selinux-context and --selinux-apifs-context are refused where SELinux is off: %s", async (name, option) => {
  await using root = berthRoot();
  const { status, stdout, stderr } = await root.berth("run", "-D", tree, option, "--", "/bin/true");
  expect([status, stdout]).toEqual([125, ""]);
  expect(stderr).toMatch(/^berth: --selinux-\S+: SELinux is off on this host: there are no contexts\nhint: .*\n$/);
  expect(stderr).toContain(`${name}=u:r:t:s0`);
});

describe.each([["yes"], ["no"]])("PrivateUsers=%s", (users) => {
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
