/** A distribution whose image is a stack of layers: it boots, changes, is cloned and boots again, in both kinds of machine. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { BerthRoot, buildBerth, poll } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";
import { debianTree } from "../lib/trees.ts";

const ready = needs("root", "userns", "cgroup2", "tool:mmdebstrap");
checkLeaks();

/** Boots of whole systems on a shared host. */
const PATIENCE = 240_000;

beforeAll(async () => {
  if (!ready) return;
  buildBerth();
  await debianTree("bookworm");
}, 15 * 60_000);

test(
  "Debian boots from layers, keeps what it changes over a reboot and a clone, and is the same without a user namespace",
  async () => {
    await using root = new BerthRoot();
    await using _ = {
      async [Symbol.asyncDispose]() {
        for (const name of ["web", "two"]) await root.berth("terminate", name);
        await root.berth("daemon", "stop", "--machines");
      },
    };
    const done = async (...words: string[]): Promise<string> => {
      const { status, stdout, stderr } = await root.berth(...words);
      expect({ status, stdout, stderr }, words.join(" ")).toMatchObject({ status: 0 });
      return stdout.trim();
    };
    const inside = (name: string, script: string): Promise<string> => done("exec", name, "--", "sh", "-ec", script);
    execFileSync("cp", ["-a", "--reflink=auto", await debianTree("bookworm"), join(root.machines, "web")]);
    await done("clone", "web", "base");
    expect(existsSync(join(root.machines, "web"))).toBe(false);

    await done("start", "web");
    expect(await inside("web", "systemctl is-system-running --wait")).toBe("running");
    expect(root.record("web")).toMatchObject({ root: join(root.machines, "web.mstack"), os: "debian", weaknesses: [] });
    // Renamed directories of a lower layer, removed files, new ones of another user, a package's files replaced as dpkg does.
    await inside(
      "web",
      `mv /usr/share/doc /usr/share/papers; rm /etc/motd; install -o nobody -g nogroup -m 4755 /bin/true /usr/local/bin/tool
       cp -a /bin/ls /bin/ls.dpkg-new; mv /bin/ls.dpkg-new /bin/ls; useradd -m someone`,
    );
    const booted = root.record("web");
    await inside("web", "systemctl reboot");
    await poll("the second boot", () => {
      const now = root.record("web");
      return now?.ready === true && now.leader.startTime !== booted?.leader.startTime ? now : undefined;
    });
    const look = `systemctl is-system-running --wait; ls -d /usr/share/papers/bash /etc/motd /usr/share/doc 2>/dev/null || true
      stat -c %U:%G:%a /usr/local/bin/tool /home/someone; ls / >/dev/null; id -un someone`;
    const changed = "running\n/usr/share/papers/bash\nnobody:nogroup:4755\nsomeone:someone:755\nsomeone";
    expect(await inside("web", look)).toBe(changed);
    await done("poweroff", "web");

    // Sealed, and the same to a machine without a user namespace.
    await done("clone", "web", "two");
    expect(readdirSync(join(root.machines, "web.mstack/rw/data"))).toEqual([]);
    root.settings("two", "[Exec]\nPrivateUsers=no");
    await done("start", "two");
    expect(await inside("two", look)).toBe(changed);
    await inside("two", "rm -r /usr/share/papers; mkdir /usr/share/papers; touch /usr/share/papers/new");
    await done("start", "web");
    expect(await inside("web", look)).toBe(changed);
    await done("poweroff", "web", "two");
    await done("start", "two");
    expect(await inside("two", "ls /usr/share/papers")).toBe("new");
    await done("poweroff", "two");
    expect(root.leftovers()).toEqual([]);
    await done("remove", "web", "base", "two");
    expect(readdirSync(join(root.machines, ".berth-layers"))).toEqual([]);
  },
  PATIENCE,
);
