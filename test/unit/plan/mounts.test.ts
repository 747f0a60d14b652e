/** What of the settings' mounts facts decide: layers, owners, the journal. */
import { describe, expect, test } from "vitest";
import { buildPlan } from "../../../src/plan/build.ts";
import { describe as describeStep } from "../../../src/plan/describe.ts";
import type { JournalFacts, LayerFacts, MachineFacts } from "../../../src/plan/facts.ts";
import { checkPreconditions } from "../../../src/plan/preconditions.ts";
import { showProblem } from "../../../src/spec/problem.ts";
import { type Changes, inputOf } from "../../golden/inputs.ts";

function input(settings: string, machine: Partial<MachineFacts>, changes: Changes = {}) {
  return inputOf("m", settings, { boot: false, ...changes, machine });
}

function problems(...given: Parameters<typeof input>): string[] {
  return checkPreconditions(input(...given)).map(showProblem);
}

function steps(...given: Parameters<typeof input>): string[] {
  return buildPlan(input(...given)).steps.map(describeStep);
}

const DIRECTORY: LayerFacts = {
  type: "directory",
  path: "/real",
  fsType: "ext4",
  isMountPoint: false,
  inode: "2049:12",
};
const UPPER: LayerFacts = { ...DIRECTORY, path: "/upper", inode: "2049:13" };

describe("layers", () => {
  const file = "/etc/berth/machines/m.nspawn:2:9";
  test.each([
    [
      "missing",
      { type: "missing", errno: "ENOENT" },
      "",
      'layer "/l" can\'t be opened: ENOENT, expected a directory on the host (mkdir -p /l)',
    ],
    ["a file", { type: "file" }, "", 'layer "/l" is no directory, expected a directory on the host'],
    [
      "on a file system that can't map",
      { ...DIRECTORY, fsType: "nfs4" },
      "",
      'layer "/l": a file system of type nfs4 can\'t map ids, expected a file system such as ext4, XFS or Btrfs (a copy of it on another file system would do, and so would PrivateUsers=no)',
    ],
  ] as const)("%s", (_, facts: LayerFacts, more, expected) => {
    const layers = { "/l": facts, "/u": UPPER };
    expect(problems(`[Files]\nOverlay=/l:/u:/x\n${more}`, { layers })).toEqual([`${file}: ${expected}`]);
  });

  test("that can't map ids will do without a user namespace", () => {
    const layers = { "/l": { ...DIRECTORY, fsType: "nfs4" }, "/u": UPPER };
    expect(problems("[Files]\nOverlay=/l:/u:/x\n[Exec]\nPrivateUsers=no", { layers })).toEqual([]);
  });

  test("a mount point can be read, and not written to", () => {
    const layers = { "/l": DIRECTORY, "/u": { ...UPPER, isMountPoint: true } };
    expect(problems("[Files]\nOverlayReadOnly=/l:/u:/x", { layers })).toEqual([]);
    expect(problems("[Files]\nOverlay=/l:/u:/x", { layers })).toEqual([
      `${file}: layer "/u" is a mount point, and the kernel wants a work directory beside it on the same file system (a directory in it would do)`,
    ]);
  });

  test("one that is written to is this machine's alone", () => {
    const layers = { "/l": DIRECTORY, "/u": UPPER };
    const locked = (settings: string): string[] =>
      steps(settings, { layers }).filter((step) => step.startsWith("lock /"));
    expect(locked("[Files]\nOverlay=/l:/u:/x")).toEqual(["lock /upper as this machine's layer alone"]);
    expect(locked("[Files]\nOverlay=/l::/x\nOverlayReadOnly=/l:/u:/y")).toEqual([]);
  });

  test("of one overlay are different directories", () => {
    const same = '"/l" and "/u" are the same directory (each directory can be a layer of an overlay once)';
    for (const key of ["Overlay", "OverlayReadOnly"])
      expect(problems(`[Files]\n${key}=/l:/u:/x`, { layers: { "/l": DIRECTORY, "/u": DIRECTORY } })[0]).toContain(same);
    const inTree = { "/l": DIRECTORY, "+/l": { ...DIRECTORY, inode: null }, "+/k": { ...DIRECTORY, inode: null } };
    expect(problems("[Files]\nOverlay=/l:+/l:/x", { layers: inTree })).toEqual([]);
    expect(problems("[Files]\nOverlay=+/k:+/l:/x", { layers: inTree })[0]).toContain("are the same directory");
  });

  test("tmpfs maps ids from Linux 6.3 on", () => {
    const layers = { "/l": { ...DIRECTORY, fsType: "tmpfs" }, "/u": UPPER };
    const kernel = { release: "6.1.0", version: [6, 1] } as const;
    expect(problems("[Files]\nOverlay=/l:/u:/x", { layers })).toEqual([]);
    expect(problems("[Files]\nOverlay=/l:/u:/x", { layers }, { host: { kernel } })[0]).toContain(
      "a file system of type tmpfs can't map ids before Linux 6.3",
    );
  });

  test("a temporary one needs a place that can", () => {
    const layers = { "/l": DIRECTORY };
    for (const line of ["Overlay=/l::/x", "Bind=:/x"])
      expect(problems(`[Files]\n${line}`, { layers, temporaryFsType: "overlay" })[0]).toContain(
        "in /var/lib/machines: a file system of type overlay can't map ids",
      );
  });

  test("of a machine that reboots go on", () => {
    const changes: Changes = { request: { reboot: true } };
    const layers = { "/l": DIRECTORY };
    const made = steps("[Files]\nOverlay=/l::/x\nBind=:/y", { layers }, changes).filter((step) =>
      step.includes("layer"),
    );
    expect(made).toEqual([
      "go on with the kept layer of changes in /var/lib/machines/.berth-temporary-1a2b3c4d-m-bind0 as temporary:0",
      "go on with the kept layer of changes in /var/lib/machines/.berth-temporary-1a2b3c4d-m-overlay0 as upper:0",
    ]);
  });
});

describe("owneridmap", () => {
  const settings = "[Files]\nBind=/s:/t:owneridmap\n";
  const mappedSources = { "/s": { owner: 1000, group: 1000, fsType: "ext4" } };
  const shown = (machine: Partial<MachineFacts>, more = "", changes: Changes = {}) =>
    steps(settings + more, { mappedSources, ...machine }, changes).find((step) =>
      step.startsWith("show the owners of bind:0"),
    );

  test.each([
    ["the target's", { "/t": { owner: 33, group: 33 } }, "", {}, 1234567168 + 33],
    ["root's, where there is none", {}, "", {}, 1234567168],
    [
      "of a chowned tree",
      { "/t": { owner: 65536 * 9 + 33, group: 65536 * 9 + 33 } },
      "",
      { tree: { owner: 65536 * 9, group: 65536 * 9 } },
      1234567168 + 33,
    ],
    [
      "as it is, where nothing is mapped",
      { "/t": { owner: 200033, group: 200033 } },
      "[Exec]\nPrivateUsers=200000\n",
      { tree: { owner: 196608, group: 196608 } },
      -1,
    ],
  ] as const)("is %s", (_, targetOwners, more, changes, id) => {
    const text = id === -1 ? "1000 as 203425" : `1000 as ${id}`;
    expect(shown({ targetOwners }, more, changes)).toContain(text);
  });

  test("is root's where the place is not the tree's", () => {
    const facts = { targetOwners: { "/t": { owner: 33, group: 33 } } };
    expect(shown(facts, "Volatile=yes\n", { machine: {} })).toContain("1000 as 1234567168");
  });

  test("of a target that is nobody's inside is refused", () => {
    const facts = { mappedSources, targetOwners: { "/t": { owner: 70000, group: 70000 } } };
    expect(problems(settings, facts)[0]).toContain('owneridmap: "/t" of the tree belongs to id');
  });
});

describe("LinkJournal=", () => {
  const ID = "fedcba9876543210fedcba9876543210";
  const PLACE = `/var/log/journal/${ID}`;
  const LINK = `/var/lib/machines/m${PLACE}`;
  const directory = { type: "directory", owner: 0, isEmpty: true, isMountPoint: false } as const;

  const FACTS: JournalFacts = { kept: true, entry: { type: "missing" }, isPlainInTree: true, usedBy: "nobody" };

  /** In a word what comes of it: bind, make, link, linked, nothing, or the problem. */
  function way(mode: string, journal: Partial<JournalFacts>, more = "", changes: Changes = {}): string {
    const facts = { journal: { ...FACTS, ...journal } };
    const given = [`[Exec]\nLinkJournal=${mode}\n${more}`, facts, changes] as const;
    const [problem] = problems(...given);
    if (problem !== undefined) return problem.replace(/^.*LinkJournal=[a-z-]+: /, "").replace(/ \(.*$/, "");
    const made = steps(...given).filter((step) => step.includes(PLACE));
    const has = (start: string): boolean => made.some((step) => step.startsWith(start));
    if (has("link ")) return "link";
    if (has(`make directory ${PLACE} for`)) return "make";
    if (has("copy mount")) return "bind";
    return has("make directory") ? "linked" : "nothing";
  }

  test.each([
    ["missing", { type: "missing" }, { host: "make", guest: "link", auto: "nothing" }],
    [
      "a file",
      { type: "other" },
      {
        host: `${PLACE} is neither a directory nor a link`,
        guest: `${PLACE} is neither a directory nor a link`,
        auto: "nothing",
      },
    ],
    ["a link to the tree", { type: "link", target: LINK }, { host: "make", guest: "linked", auto: "linked" }],
    ["an empty directory", directory, { host: "make", guest: "link", auto: "nothing" }],
    ["the machine's own", { ...directory, owner: 1234567168 }, { host: "make", guest: "link", auto: "bind" }],
    [
      "one with journals",
      { ...directory, isEmpty: false },
      {
        host: `${PLACE} has journals of root's`,
        guest: `${PLACE} has journals already, and a link would have to take its place`,
        auto: "nothing",
      },
    ],
    [
      "a mount point",
      { ...directory, isMountPoint: true },
      { host: `${PLACE} is a mount point`, guest: `${PLACE} is a mount point`, auto: "nothing" },
    ],
  ] as const)("where %s is", (_, entry: JournalFacts["entry"], expected) => {
    for (const [mode, is] of Object.entries(expected)) {
      expect(way(mode, { entry }), mode).toBe(is);
      if (mode !== "auto")
        expect(way(`try-${mode}`, { entry }), `try-${mode}`).toBe(is.startsWith("/") ? "nothing" : is);
    }
    expect(way("no", { entry })).toBe("nothing");
  });

  test("auto takes nothing of root's of the host, where root inside is that root, either", () => {
    for (const entry of [directory, { ...directory, isEmpty: false }])
      expect(way("auto", { entry }, "PrivateUsers=no")).toBe("nothing");
    expect(way("host", { entry: { ...directory, isEmpty: false } }, "PrivateUsers=no")).toBe("make");
  });

  test("a link elsewhere is replaced for who insists", () => {
    const entry = { type: "link", target: "/x" } as const;
    const ways = ["host", "guest", "try-host", "try-guest", "auto"].map((mode) => way(mode, { entry }));
    expect(ways).toEqual(["make", "link", "nothing", "nothing", "nothing"]);
  });

  test("needs a host that keeps journals, and an id that is kept and not the host's", () => {
    expect(way("host", { kept: false })).toBe("the host keeps no journals on disk: /var/log/journal is no directory");
    const none: Changes = { tree: { machineId: null } };
    expect(way("guest", {}, "MachineID=0123456789abcdef0123456789abcdef", none)).toBe(
      "the machine has the host's own machine id",
    );
    expect(way("host", {}, "", none)).toBe("the machine has no id that it keeps, and journals are told apart by it");
    expect(way("try-host", {}, "", none)).toBe("nothing");
    expect(way("host", {}, "Boot=yes", none)).toBe("nothing"); // by another id than the tree's
  });

  test("does nothing of itself in a copy or in a tree that is read-only", () => {
    expect(way("try-guest", {}, "Ephemeral=yes")).toBe("nothing");
    expect(way("try-guest", {}, "", { tree: { readOnly: true } })).toBe("nothing");
    expect(way("guest", {}, "[Files]\nVolatile=overlay")).toBe("a volatile machine keeps no journal in its tree");
    expect(way("host", {}, "[Files]\nVolatile=overlay")).toBe("make");
    expect(way("host", {}, "[Files]\nVolatile=yes")).toContain("no id that it keeps");
    expect(way("auto", { entry: { ...directory, owner: 1234567168 } }, "", { tree: { readOnly: true } })).toBe(
      "nothing",
    );
  });

  test("takes nothing that is another machine's", () => {
    const foreign = `${PLACE} belongs to id 1234500608, another machine's root, which has the same machine id`;
    const entry = { ...directory, owner: 1234500608 };
    for (const mode of ["host", "guest"]) {
      expect(way(mode, { entry })).toBe(foreign);
      expect(way(mode, { entry }, "PrivateUsers=no")).toBe(foreign);
      expect(way(`try-${mode}`, { entry })).toBe("nothing");
    }
    expect(way("auto", { entry })).toBe("nothing");
    expect(way("host", { entry, usedBy: "itself" })).toBe("make");
    expect(problems("[Exec]\nLinkJournal=host", { journal: { ...FACTS, entry } })[0]).toContain(
      `empty its etc/machine-id, or MachineID=; if that journal is this machine's: chown 1234567168:1234567168 ${PLACE}`,
    );
  });

  test("is not shared with a machine that runs", () => {
    const own = { ...directory, owner: 1234567168 };
    for (const entry of [own, { type: "missing" }, { type: "link", target: LINK }] as const)
      for (const mode of ["host", "guest"]) {
        const used = `${PLACE} is in use by another machine, with the same machine id`;
        expect(way(mode, { entry, usedBy: "another" })).toBe(used);
        expect(way(`try-${mode}`, { entry, usedBy: "another" })).toBe("nothing");
      }
    expect(way("auto", { entry: own, usedBy: "another" })).toBe("nothing");
    for (const [mode, entry] of [
      ["host", own],
      ["auto", own],
      ["guest", directory],
    ] as const)
      expect(steps(`[Exec]\nLinkJournal=${mode}`, { journal: { ...FACTS, entry } })).toContain(
        `lock ${PLACE} as this machine's journal alone`,
      );
    expect(steps("[Exec]\nLinkJournal=auto", { journal: FACTS }).join()).not.toContain("journal alone");
  });

  test("follows no link of the tree", () => {
    expect(way("guest", { isPlainInTree: false })).toBe(
      "/var/log/journal of the tree is reached by a link, which would lead the host elsewhere",
    );
    expect(way("try-host", { isPlainInTree: false })).toBe("nothing");
  });
});
