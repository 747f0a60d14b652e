import { describe, expect, test } from "vitest";
import type { HostFacts, MachineFacts, TreeFacts } from "../../../src/plan/facts.ts";
import type { PlanInput } from "../../../src/plan/input.ts";
import { checkPreconditions } from "../../../src/plan/preconditions.ts";
import { showProblem } from "../../../src/spec/problem.ts";
import { goldenInput } from "../../golden/inputs.ts";

interface Change {
  readonly host?: Partial<HostFacts>;
  readonly tree?: Partial<TreeFacts>;
  readonly machine?: Partial<MachineFacts>;
}

function problems({ host, tree, machine }: Change, golden = "default"): string[] {
  const input = goldenInput(golden);
  const changed: PlanInput = {
    ...input,
    host: { ...input.host, ...host },
    machine: { ...input.machine, ...machine, tree: { ...input.machine.tree, ...tree } },
  };
  return checkPreconditions(changed).map(showProblem);
}

const init = (machine: NonNullable<TreeFacts["init"]>["machine"]) => ({
  init: { path: "/sbin/init", kind: "other" as const, machine },
});

describe("the kernel", () => {
  test.each([
    ["6.0.19-custom", [6, 0]],
    ["5.15.0-91-generic", [5, 15]],
    ["4.19.0", [4, 19]],
  ] as const)("%s is too old", (release, version) => {
    expect(problems({ host: { kernel: { release, version } } })).toEqual([
      `the kernel is ${release}, expected 6.1 or newer (upgrade the host, or use its backports kernel)`,
    ]);
  });

  test.each([
    ["6.1.0", [6, 1]],
    ["6.10.3", [6, 10]],
    ["7.0.0", [7, 0]],
  ] as const)("%s will do", (release, version) => {
    expect(problems({ host: { kernel: { release, version } } })).toEqual([]);
  });
});

test("a cgroup2 hierarchy has to be mounted", () => {
  const cgroup = { mode: "v1", mount: null, own: "/", controllers: [] } as const;
  const [problem, ...others] = problems({ host: { cgroup } });
  expect(problem).toMatch(/^no cgroup2 hierarchy is mounted, expected one.*mount -t cgroup2/);
  expect(others).toEqual([]);
});

describe("the init", () => {
  test("has to be there to be booted, and the problem is where Boot= is", () => {
    expect(problems({ tree: { init: null } }, "everything")).toEqual([
      expect.stringMatching(
        /^\/etc\/berth\/machines\/everything\.nspawn:3:6: \/var\/lib\/machines\/everything has no init to boot, expected .* \(install an init/,
      ),
    ]);
  });

  test("that is none is said", () => {
    const tree = { init: null, initFault: "/sbin/init is not executable" };
    expect(problems({ tree }, "everything")).toEqual([
      expect.stringContaining("has no init to boot: /sbin/init is not executable, expected"),
    ]);
  });

  test("is not asked for by a command", () => {
    expect(problems({ tree: { init: null } }, "command")).toEqual([]);
    expect(problems({ tree: init("aarch64") }, "command")).toEqual([]);
  });

  test.each([
    ["x64", "x86-64", true],
    ["x64", "i386", true],
    ["x64", "script", true],
    ["x64", "unknown", true],
    ["x64", "aarch64", false],
    ["x64", "arm", false],
    ["arm64", "aarch64", true],
    ["arm64", "arm", true],
    ["arm64", "script", true],
    ["arm64", "x86-64", false],
    ["arm64", "i386", false],
  ] as const)("on %s, one for %s: %s", (arch, machine, runs) => {
    const found = problems({ host: { arch }, tree: init(machine) });
    const name = arch === "x64" ? "x86-64" : "arm64";
    expect(found).toEqual(
      runs
        ? []
        : [
            `/sbin/init of /var/lib/machines/default is built for ${machine}, expected a tree for this host's ${name} ` +
              "(bootstrap the tree for this architecture)",
          ],
    );
  });
});

describe("owners of the tree", () => {
  const chowned = { owner: 1048576, group: 1048576 };

  test.each([
    ["the default machine, which is mapped", "default", chowned],
    ["yes, which is that range", "users-yes", chowned],
    ["a root of another group", "default", { owner: 0, group: 100 }],
    ["off, which does not care", "ownership-off", { owner: 0, group: 70000 }],
  ])("fit %s", (_, golden, tree) => {
    expect(problems({ tree }, golden)).toEqual([]);
  });

  test.each([
    [
      "users-no",
      chowned,
      /^\/etc.*: .* belongs to id 1048576: it was chowned to the range from 1048576 on, .*=yes uses it|PrivateUsers=yes uses that range/,
    ],
    ["default", { owner: 1000, group: 0 }, /belongs to id 1000, which is a user's and not root's/],
    ["ownership-off", { owner: 1000, group: 0 }, /belongs to id 1000, which is a user's and not root's/],
    ["default", { owner: 0, group: 70000 }, /belongs to user 0 and group 70000, which are of two ranges/],
    ["default", { owner: 0xfffe0000, group: 0xfffe0000 }, /was interrupted.*--private-users-ownership=chown goes on/],
    ["ownership-chown", { readOnly: true }, /nspawn:5:23: .* is read-only.*PrivateUsersOwnership=map changes nothing/],
    ["ownership-auto", { fsType: "overlay", readOnly: true }, /no file system of type overlay maps ids/],
  ] as const)("that don't fit %s are said", (golden, tree, said) => {
    const found = problems({ tree }, golden);
    expect(found).toEqual([expect.stringMatching(said)]);
  });

  test("are changed on disk to whole ranges only", () => {
    const range = (size: number): string[] => {
      const input = goldenInput("ownership-chown");
      const privateUsers = { ...input.spec.privateUsers, value: { mode: "range", base: 1114112, size } as const };
      return checkPreconditions({ ...input, spec: { ...input.spec, privateUsers } }).map(showProblem);
    };
    expect(range(65536)).toEqual([]);
    for (const size of [1000, 131072])
      expect(range(size)).toEqual([expect.stringContaining(`can't be changed to the range 1114112:${size}, expected`)]);
  });

  test("that were left halfway are gone on with by chown", () => {
    expect(problems({ tree: { owner: 0xfffe0000, group: 0xfffe0000 } }, "ownership-chown")).toEqual([]);
  });
});

describe("the range", () => {
  test("has to be free where one is picked", () => {
    expect(problems({ machine: { rangeBase: null } })).toEqual([
      expect.stringMatching(/^no range of 65536 ids is free between 524288 and 1878982656 \(/),
    ]);
  });

  test.each(["users-no", "users-identity", "users-range"])("is no matter for %s", (golden) => {
    expect(problems({ machine: { rangeBase: null } }, golden)).toEqual([]);
  });
});

describe("sources of binds", () => {
  const missing = (path: string, errno: string): Change => ({
    machine: { bindSources: { ...goldenInput("everything").machine.bindSources, [path]: { type: "missing", errno } } },
  });

  test("have to exist; the problem is where Bind= is, and says what makes one", () => {
    expect(problems(missing("/srv/data", "ENOENT"), "everything")).toEqual([
      "/etc/berth/machines/everything.nspawn:20:6: the source /srv/data of the bind on /srv/data can't be opened: " +
        "ENOENT, expected an existing path on the host (mkdir -p /srv/data)",
    ]);
  });

  test("that can't be looked at are not missing: no mkdir is advised", () => {
    const [problem] = problems(missing("/srv/data", "EACCES"), "everything");
    expect(problem).toMatch(/can't be opened: EACCES/);
    expect(problem).not.toMatch(/mkdir/);
  });

  test("nobody looked at are no problem yet", () => {
    expect(problems({ machine: { bindSources: {} } }, "everything")).toEqual([]);
  });
});

test("all problems are reported together", () => {
  const found = problems({
    host: { kernel: { release: "5.10.0", version: [5, 10] } },
    tree: { init: null },
    machine: { rangeBase: null },
  });
  expect(found.map((text) => text.split(",")[0])).toEqual([
    "the kernel is 5.10.0",
    "/var/lib/machines/default has no init to boot",
    expect.stringMatching(/^no range/),
  ]);
});

describe("units of systemd's", () => {
  const cgroup = (own: string): HostFacts["cgroup"] => ({ mode: "v2", mount: "/sys/fs/cgroup", own, controllers: [] });

  test("are asked for in vain on a host that it does not run, each by its option; to keep its own asks for nothing", () => {
    const nowhere = "there are no units here: systemd does not run this host";
    expect(problems({ host: { systemd: false } }, "keep-unit")).toEqual([]);
    const said = problems({ host: { systemd: false } }, "systemd-slice");
    expect(said.map((line) => line.replace(/ \(.*/, ""))).toEqual([
      `--slice=web-front: ${nowhere}`,
      `--property=MemoryMax=1G: ${nowhere}`,
      `--property=DeviceAllow=/dev/null rw: ${nowhere}`,
    ]);
  });

  test.each([
    ["/", "--keep-unit: berth runs in no unit that could be kept, expected a service or scope of the system's"],
    [
      "/user.slice/user-0.slice/session-1.scope",
      "--keep-unit: session-1.scope is a user's session, expected a service",
    ],
  ])("one that is kept has to be the system's: %s", (own, message) => {
    const [problem, ...others] = problems({ host: { cgroup: cgroup(own) } }, "keep-unit");
    expect(problem).toContain(message);
    expect(others).toEqual([]);
  });
});

test("SELinux has to be on for its contexts, each by its option", () => {
  const off =
    "SELinux is off on this host: there are no contexts (sestatus says more; without the option the machine starts as usual)";
  expect(problems({ host: { selinux: false } }, "selinux")).toEqual([
    `--selinux-context=system_u:system_r:container_t:s0:c1,c2: ${off}`,
    `--selinux-apifs-context=system_u:object_r:container_file_t:s0:c1,c2: ${off}`,
  ]);
});

describe("a root that is read-only, in memory or in layers", () => {
  const merged = { links: { bin: "usr/bin", sbin: "usr/sbin" }, bin: null } as const;
  const memory = "Volatile=overlay";

  test.each<[string, string, Parameters<typeof problems>[0], RegExp]>([
    [
      "programs beside /usr",
      "volatile-yes",
      { machine: { usr: { links: {}, bin: "directory" } } },
      /\/bin of its own.*merged/,
    ],
    [
      "a /bin that is a file",
      "volatile-yes",
      { machine: { usr: { links: {}, bin: "other" } } },
      /neither a link nor missing/,
    ],
    [
      "an init beside /usr",
      "volatile-yes",
      {
        machine: { usr: { links: {}, bin: null } },
        tree: { init: { path: "/sbin/init", kind: "other", machine: "x86-64" } },
      },
      /the init \/sbin\/init of .* is not in \/usr/,
    ],
    [
      "a layer that can't be made",
      "ephemeral",
      { machine: { layer: { fsType: "ext4", readOnly: true } } },
      /beside .* on a read-only/,
    ],
    [
      "a layer that maps no ids",
      "ephemeral",
      { machine: { layer: { fsType: "nfs", readOnly: false } } },
      /type nfs, which maps/,
    ],
    [
      "a tmpfs without attributes",
      "volatile-overlay",
      { host: { kernel: { release: "6.1.0", version: [6, 1] } } },
      /before Linux 6\.6.*this is 6\.1\.0/,
    ],
    [
      "a copy into a read-only /etc",
      "follow-replace",
      { tree: { readOnly: true } },
      /\/etc\/resolv\.conf of .* is on a read-only/,
    ],
  ])("%s is said", (_, golden, facts, said) => {
    const found = problems(facts, golden);
    expect(found.length).toBeGreaterThan(0);
    expect(found[0]).toMatch(said);
  });

  test("of other kinds are none of these checks' business", () => {
    const init = { path: "/sbin/init", kind: "other", machine: "x86-64" } as const;
    expect(problems({ machine: { usr: merged }, tree: { init } }, "volatile-yes")).toEqual([]);
    expect(problems({ host: { kernel: { release: "6.1.0", version: [6, 1] } } }, "volatile-overlay-users-no")).toEqual(
      [],
    );
    expect(problems({ machine: { layer: null } }, "volatile-overlay"), memory).toEqual([]);
  });
});
