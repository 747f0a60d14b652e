/** The command line as scripts rely on it: exit statuses, messages, JSON; and never a stack trace. */
import { chmodSync, chownSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { BERTH, type BerthRoot, berthRoot, buildBerth, type End } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { needs, needsHere } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();

let verbs: string[] = [];
beforeAll(async () => {
  if (!ready) return;
  buildBerth();
  await using root = berthRoot();
  const { stdout } = await root.berth("help");
  verbs = [...stdout.matchAll(/^ {2}([a-z-]+) +\S/gm)].map(([, verb = ""]) => verb);
});

/** What every failure looks like: one sentence after berth:, a hint on the next line, and nothing from Node. */
function expectFailure({ status, stdout, stderr }: End, wanted: number, pattern: RegExp): void {
  expect(stderr).toMatch(pattern);
  expect([status, stdout]).toEqual([wanted, ""]);
  expect(stderr).toMatch(/^(berth: .+\n)+(hint: .+\n)?$/);
  expect(stderr).not.toMatch(/ {4}at |node:internal|internal error|Error:/);
}

async function json(root: BerthRoot, ...words: string[]): Promise<unknown> {
  const { status, stdout, stderr } = await root.berth(...words);
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

describe("usage", () => {
  test("without a verb, and with help, every verb is listed", async () => {
    await using root = berthRoot();
    expect(verbs).toEqual(
      expect.arrayContaining(["list", "run", "exec", "shell", "start", "poweroff", "plan", "check", "doctor"]),
    );
    for (const words of [[], ["help"], ["--help"], ["-h"]]) {
      const { status, stdout, stderr } = await root.berth(...words);
      expect([status, stderr]).toEqual([0, ""]);
      expect(stdout).toMatch(/^ {2}run +run a machine/m);
    }
  });

  test("--help of each verb says what it does, and that is no failure", async () => {
    await using root = berthRoot();
    const ends = await Promise.all(verbs.map((verb) => root.berth(verb, "--help")));
    ends.forEach(({ status, stdout, stderr }, index) => {
      expect([status, stderr], verbs[index]).toEqual([0, ""]);
      expect(stdout, verbs[index]).toMatch(new RegExp(`^Usage: berth ${verbs[index]}`));
    });
  });

  test.runIf(ready)(
    "run is the same in its own bundle and among all verbs, where it is not the first word",
    async () => {
      await using root = berthRoot();
      const tree = await probeTree();
      for (const [wanted, ...words] of [
        [0, "--help"],
        [2, "--bogus"],
        [125, "-D", "/nowhere", "--", "/bin/true"],
        [127, "-q", "-D", tree, "--", "/nowhere"],
        [3, "-q", "-D", tree, "--", "/probe", "exit", "3"],
      ] as const) {
        const alone = await root.berth("run", ...words);
        expect(await root.berth("--root", root.path, "run", ...words), words.join(" ")).toEqual(alone);
        expect(alone.status, alone.stderr).toBe(wanted);
      }
    },
  );

  test.each([
    [["lst"], /^berth: lst: no such verb\nhint: did you mean list\?\n$/],
    [["rm", "m"], /^berth: rm: no such verb\nhint: that is berth remove here\n$/],
    [["constructor"], /^berth: constructor: no such verb\nhint: berth help lists them\n$/],
    [["pwoeroff", "m"], /did you mean poweroff\?/],
    [["list", "--jsno"], /^berth: unknown option '--jsno'\nhint: .*--json/],
    [["list", "extra"], /too many arguments/],
    [["exec"], /^berth: missing required argument 'name'\nhint: berth exec \[options\] <name> <command...>\n$/],
    [
      ["start", "m", "--timeout"],
      /^berth: option '--timeout <SECONDS>' argument missing\nhint: berth start \[options\] <name...>\n$/,
    ],
    [["exec", "m"], /missing required argument 'command'/],
    [["run", "--console=loud"], /--console=loud: unknown mode\nhint: one of interactive/],
    [["start", "m", "--timeout", "soon"], /^berth: --timeout=soon is no number of seconds\nhint: /],
    [["run", "--no-such-option"], /unknown option '--no-such-option'/],
    [["run", "--ephem"], /^berth: unknown option '--ephem'\nhint: did you mean --ephemeral\?\n$/],
    [["plan", "--bindro=/x"], /^berth: unknown option '--bindro'\nhint: did you mean --bind-ro\?\n$/],
    [["run", "--bind-r"], /hint: did you mean --bind-ro\?\n$/],
    [["run", "--bind-u"], /hint: did you mean one of --bind-user-group, --bind-user, --bind-user-shell\?\n$/],
    [["run", "--boot=yes"], /^berth: --boot takes no value\n$/],
    [["plan", "m", "--ephemeral=no"], /^berth: --ephemeral takes no value\n$/],
    [["list", "--json=x"], /^berth: --json takes no value\n$/],
    [["run", "-n"], /^berth: -n: VirtualEthernet= is not in effect yet .*\nhint: it comes with networking\n$/],
    [["run", "--oci-bundle=/x"], /--oci-bundle is not in effect yet/],
    [["--root"], /--root needs a directory/],
  ])("%j is wrong: exit status 2", async (words, pattern) => {
    await using root = berthRoot();
    expectFailure(await root.berth(...words), 2, pattern);
  });

  test.each(["exec", "poweroff", "reboot", "terminate", "console"])(
    "%s of a machine that does not run names what does",
    async (verb) => {
      await using root = berthRoot();
      const more = verb === "exec" ? ["true"] : [];
      expectFailure(
        await root.berth(verb, "web", ...more),
        verb === "exec" ? 125 : 1,
        /"web" is running\nhint: no machine runs/,
      );
    },
  );
});

describe("names", () => {
  const BAD = "m/../../../victim";

  test.each(["start", "status", "poweroff", "reboot", "terminate", "exec", "shell", "plan", "run"])(
    "%s of a bad one says so, the same as all, and touches nothing",
    async (verb) => {
      await using root = berthRoot();
      // Where the name leads to from several places.
      const victims = ["victim.log", "victim.nspawn", "etc/victim.nspawn", "run/victim/record.json"];
      for (const path of victims) {
        mkdirSync(dirname(join(root.path, path)), { recursive: true });
        writeFileSync(join(root.path, path), "[Nonsense]");
      }
      const before = readdirSync(root.path, { recursive: true }).sort();
      const words = { exec: ["exec", BAD, "true"], run: ["run", "-M", BAD, "true"], shell: ["shell", BAD, "true"] };
      const argv = words[verb as keyof typeof words] ?? [verb, BAD];
      const { status, stdout, stderr } = await root.spawn(["sh", "-c", '"$@"', "sh", BERTH, ...argv]).end;
      expect(stderr).toMatch(/^berth: machine name "m\/\.\.\/\.\.\/\.\.\/victim" may not contain "\/"/);
      expect([stdout, status]).toEqual(["", 2]);
      expect(readdirSync(root.path, { recursive: true }).sort()).toEqual(before);
    },
  );

  test("start looks at all of them before it starts one", async () => {
    await using root = berthRoot();
    await probeTree({ at: join(root.machines, "m"), init: true });
    expectFailure(await root.berth("start", "m", "a b"), 2, /machine name "a b"/);
    expect(await json(root, "list", "--json")).toEqual([]);
  });

  test("of a tree that gives none: the hint is how to give one", async () => {
    await using root = berthRoot();
    expectFailure(
      await root.berth("run", "-D", root.directory("__"), "true"),
      2,
      /^berth: machine name "__" .*\nhint: -M NAME names it\n$/,
    );
  });
});

describe("what is printed", () => {
  test("paths and arguments do nothing to a terminal, and several problems stay on lines of their own", async () => {
    await using root = berthRoot();
    const tree = await probeTree();
    const ends = await Promise.all([
      root.berth("run", "-q", "-D", tree, "-M", "m", "--pipe", "--", "/no\u001b[31mpe\nx"),
      root.berth("run", "-D", "/no\u001b[31mpe/m"),
      root.berth("ver\u001b[31mb"),
      root.berth("list", "--\u009b31m"),
      root.berth("check", "/no\u001b[31mpe.nspawn"),
      root.berth("--root=/no\u001b[31mpe", "run", "-D", "/\u001b[0m"),
    ]);
    for (const { status, stdout, stderr } of ends) {
      expect(status).not.toBe(0);
      for (const character of ["\u001b", "\u009b"]) expect(`${stdout}${stderr}`).not.toContain(character);
      expect(stderr).toMatch(/\\u\{(1b|9b)\}/);
      expect(stderr).toMatch(/^(berth: .+\n)+(hint: .+\n)?$/);
    }
    root.settings("m", "[Exec]\nKillSignal=SIGFOO\nHostname=-bad-");
    const { stderr } = await root.berth("run", "-D", tree, "-M", "m");
    expect(stderr).toMatch(/^berth: .*m\.nspawn:2:.*\nberth: .*m\.nspawn:3:.*\n$/);
  });

  test("an argument that is not UTF-8 is refused, by its number", async () => {
    await using root = berthRoot();
    const script = `"$@" status "$(printf 'm\\377')"`;
    expectFailure(
      await root.spawn(["sh", "-c", script, "sh", BERTH]).end,
      2,
      /^berth: argument 2, "m\ufffd", is not UTF-8\n$/,
    );
  });
});

describe("check", () => {
  test("reports all problems of a file at once, each with its place, and fails if one is an error", async () => {
    await using root = berthRoot();
    const path = root.settings(
      "m",
      "[Exec]\nBot=yes\nKillSignal=SIGFOO\n  Hostname=-bad-\nUser=a b\n[Files]\nBind=relative\nBind=/a:/b:what\n[Nonsense]",
    );
    const { status, stdout, stderr } = await root.berth("check", path);
    expect([status, stderr]).toEqual([1, ""]);
    const lines = stdout.trimEnd().split("\n");
    const places = lines.map((line) => line.replace(`${path}:`, "").split(":").slice(0, 2).map(Number));
    expect(places.map(([line]) => line)).toEqual([2, 3, 4, 5, 7, 8]);
    for (const [, column] of places) expect(column).toBeGreaterThan(0);
    expect(lines[0]).toMatch(/Bot.*Boot=/);
    expect(lines[5]).toMatch(/what.*rbind/);
    // The same as JSON.
    const asJson = JSON.parse((await root.berth("check", "--json", path)).stdout) as {
      severity: string;
      source: object;
      what: string;
    }[];
    expect(asJson.map(({ source }) => source)).toEqual(
      places.map(([line, column]) => expect.objectContaining({ file: path, line, column })),
    );
    expect(asJson.map(({ severity }) => severity)).toEqual(["warning", "error", "error", "error", "error", "error"]);
  });

  test("without a file checks all of this root; warnings alone are no failure", async () => {
    await using root = berthRoot();
    root.settings("good", "[Exec]\nBoot=yes");
    expect(await root.berth("check")).toMatchObject({
      status: 0,
      stdout: "",
      stderr: expect.stringContaining("1 settings file"),
    });
    const path = root.settings("odd", "[Exec]\nBoto=yes");
    const { status, stdout } = await root.berth("check");
    expect([status, stdout]).toEqual([0, expect.stringMatching(new RegExp(`^${path}:2:\\d+: warning: .*\n$`))]);
  });

  test("refuses what is no settings file by name, whatever it is", async () => {
    await using root = berthRoot();
    for (const path of ["/nonexistent.nspawn", root.path, "/dev/zero", "/dev/null/x"])
      expectFailure(await root.berth("check", path), 1, new RegExp(`^berth: .*${path}`));
    const binary = join(root.path, "m.nspawn");
    symlinkSync(BERTH, binary);
    const { stderr } = await root.berth("check", `${BERTH}.cjs`, binary);
    expect(stderr).not.toContain("    at ");
  });

  test("of a file beside the trees names what it asks for in vain, and of any the bind sources that are missing", async () => {
    await using root = berthRoot();
    const path = join(root.machines, "m.nspawn");
    writeFileSync(path, "[Exec]\nHostname=h\nCapability=all\n");
    const other = root.settings("other", "[Files]\nBind=/etc\nBindReadOnly=/no/such/path:/mnt");
    const { status, stdout } = await root.berth("check");
    expect({ status, lines: stdout.trimEnd().split("\n") }).toEqual({
      status: 0,
      lines: [
        `${other}:3:14: warning: there is no "/no/such/path" to bind`,
        `${path}:3:12: warning: Capability= is ignored: settings that come with an image may not set it ` +
          `(copied to ${root.etc}/machines it is trusted)`,
      ],
    });
  });

  test("of a machine checks its file and its drop-ins together", async () => {
    await using root = berthRoot();
    const path = root.settings("m", "[Exec]\nBoot=no\nUser=daemon");
    root.settings("other", "[Exec]\nBoot=perhaps");
    expect(await root.berth("check", "m")).toMatchObject({ status: 0, stdout: "" });
    const directory = root.directory("etc/machines/m.nspawn.d");
    writeFileSync(join(directory, "a.conf"), "[Exec]\nBoot=yes\n");
    const { status, stdout } = await root.berth("check", "m");
    expect([status, stdout]).toEqual([
      1,
      expect.stringMatching(new RegExp(`^${path}:3:6: an init is run by root.*\n$`)),
    ]);
    expectFailure(
      await root.berth("check", "none"),
      1,
      /^berth: machine none has no settings file\nhint: .*none\.nspawn/,
    );
  });

  test("warns of what berth start refuses or passes over in a file that does not say how it starts", async () => {
    await using root = berthRoot();
    const user = root.settings("user", "[Exec]\nUser=daemon\nParameters=/bin/true");
    const two = root.settings("two", "[Exec]\nProcessTwo=yes");
    root.settings("meant", "[Exec]\nBoot=no\nProcessTwo=yes\nUser=daemon");
    const { status, stdout } = await root.berth("check");
    expect({ status, lines: stdout.trimEnd().split("\n") }).toEqual({
      status: 0,
      lines: [
        `${two}:2:12: warning: berth start boots it: ProcessTwo= has no effect there (Boot=no says that it is for berth run)`,
        expect.stringMatching(`^${user}:2:6: warning: berth start boots it and refuses this: an init is run by root`),
      ],
    });
  });

  test("reads drop-ins too", async () => {
    await using root = berthRoot();
    const directory = root.directory("etc/machines/m.nspawn.d");
    writeFileSync(join(directory, "a.conf"), "[Exec]\nBoot=perhaps\n");
    const { status, stdout } = await root.berth("check");
    expect([status, stdout]).toEqual([1, expect.stringContaining(`${directory}/a.conf:2:6: Boot=: `)]);
  });

  // Root's own right to pass over modes is taken away instead of its id: a checkout may be out of others' reach.
  const LIKE_A_USER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];

  test("says what only root may read", async (ctx) => {
    needsHere(ctx, "tool:setpriv");
    await using root = berthRoot();
    const path = root.settings("m", "[Exec]\nBoot=yes");
    chmodSync(path, 0o600);
    chownSync(path, 1, 1);
    chmodSync(root.machines, 0o700);
    chownSync(root.machines, 1, 1);
    const asNobody = (...words: string[]) => root.spawn([...LIKE_A_USER, BERTH, ...words]).end;
    expectFailure(
      await asNobody("check"),
      1,
      new RegExp(`^berth: ${path} can be read by root only\nhint: run this as root\n$`),
    );
    expectFailure(await asNobody("cat", "m"), 1, /can be read by root only\nhint: run this as root\n$/);
    const inside = join(root.machines, "x.nspawn");
    expectFailure(await asNobody("check", inside), 1, new RegExp(`^berth: ${inside} can be read by root only\nhint: `));
    chmodSync(path, 0o644);
    expect((await asNobody("check")).stdout).toBe(
      `warning: settings in ${root.machines} can't be read without root and are left out\n`,
    );
  });
});

describe("cat", () => {
  test("prints the file and its drop-ins in the order they apply, with their paths, and what is ignored of them", async () => {
    await using root = berthRoot();
    const main = root.settings("m", "[Exec]\nHostname=one\nEnvironment=A=1");
    const own = root.directory("etc/machines/m.nspawn.d");
    const beside = root.directory("machines/m.nspawn.d");
    writeFileSync(join(own, "20.conf"), "[Exec]\nEnvironment=\nEnvironment=B=2");
    writeFileSync(join(beside, "10.conf"), "[Exec]\nHostname=two\nCapability=all\n[Files]\nBind=/etc\n");
    expect(await root.berth("cat", "m")).toEqual({
      status: 0,
      signal: null,
      stderr: "",
      stdout: `# ${main}
[Exec]
Hostname=one
Environment=A=1

# ${beside}/10.conf
# not trusted: it lies beside the trees, where it may have come with one; ignored: Capability= (line 3), Bind= (line 5)
[Exec]
Hostname=two
Capability=all
[Files]
Bind=/etc

# ${own}/20.conf
[Exec]
Environment=
Environment=B=2
`,
    });
    const flat = `[Exec]
# ${beside}/10.conf:2
Hostname=two
# ${own}/20.conf:3
Environment=B=2
`;
    expect((await root.berth("cat", "--effective", "m")).stdout).toBe(flat);
    // It is a settings file again, and means the same.
    const again = root.settings("again", flat);
    const settings = JSON.parse((await root.berth("cat", "--json", again)).stdout) as { settings: unknown[] };
    expect(settings.settings).toEqual([
      expect.objectContaining({ section: "Exec", key: "Hostname", value: "two" }),
      expect.objectContaining({
        key: "Environment",
        value: "B=2",
        source: { from: "file", file: again, line: 5, column: 13 },
      }),
    ]);
    expect(JSON.parse((await root.berth("cat", "--json", "m")).stdout)).toMatchObject({
      name: "m",
      files: [
        { path: main, trusted: true, distrust: null, ignored: [] },
        { trusted: false, ignored: [{ key: "Capability" }, { key: "Bind" }] },
        {},
      ],
    });
  });

  test("of a machine without settings says where they would be", async () => {
    await using root = berthRoot();
    expectFailure(
      await root.berth("cat", "m"),
      1,
      new RegExp(`^berth: machine m has no settings file\nhint: .*m.nspawn .*${root.etc}/machines, `),
    );
    mkdirSync(join(root.machines, "m"));
    expectFailure(
      await root.berth("cat", "m"),
      1,
      /^berth: machine m has no settings file\nhint: berth edit m makes one\n/,
    );
    expectFailure(await root.berth("cat", "no/such.conf"), 1, /no such file/);
  });
});

describe("JSON", () => {
  test("list: an array, of each machine that runs what the manual says", async () => {
    await using root = berthRoot();
    expect(await json(root, "list", "--json")).toEqual([]);
    const tree = await probeTree({ at: join(root.machines, "web") });
    await using child = root.start(
      "run",
      "-q",
      "-M",
      "web",
      "--host-network",
      "--resolv-conf=off",
      "--pipe",
      "--",
      ...probe("init", "--term"),
    );
    const { leader } = await root.recordWhen("web");
    const expected = {
      ...{
        name: "web",
        class: "container",
        service: "berth",
        state: "running",
        ready: true,
        os: "probe",
        version: "1",
      },
      ...{
        addresses: [],
        unit: null,
        leader: leader.pid,
        image: tree,
        since: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
      },
    };
    expect(await json(root, "list", "--json")).toEqual([expect.objectContaining(expected)]);
    const { stdout } = await root.berth("list");
    expect(stdout).toMatch(/^MACHINE +CLASS +SERVICE +STATE +OS +VERSION/);
    expect(stdout).toMatch(/^web +container +berth +running +probe +1 .*shares the host's network/m);
    child.kill();
    await child.end;
    expect(await json(root, "list", "--json")).toEqual([]);
  });

  test("plan: the machine and its steps, numbered, each with phase, words, origin, arguments and undo", async () => {
    await using root = berthRoot();
    await probeTree({ at: join(root.machines, "web"), init: true });
    root.settings("web", "[Exec]\nHostname=www");
    const before = readdirSync(root.path, { recursive: true }).sort();
    const plan = (await json(root, "plan", "web", "--json")) as {
      machine: string;
      steps: { index: number; kind: string; source: string }[];
    };
    expect(plan.machine).toBe("web");
    expect(plan.steps.map(({ index }) => index)).toEqual(plan.steps.map((_, index) => index));
    const shape = {
      phase: expect.stringMatching(/^(host|keeper|init|apivfs)$/),
      describe: expect.any(String),
      undo: expect.any(String),
    };
    for (const step of plan.steps)
      expect(step).toMatchObject({ ...shape, args: expect.any(Object), source: expect.any(String) });
    const hostname = plan.steps.find(({ kind }) => kind === "set-hostname");
    expect(hostname).toMatchObject({ args: { hostname: "www" }, source: `${root.etc}/machines/web.nspawn:2` });
    // Nothing was made.
    expect(readdirSync(root.path, { recursive: true }).sort()).toEqual(before);
  });

  test("the plan as text is the same in lines", async () => {
    await using root = berthRoot();
    await probeTree({ at: join(root.machines, "web"), init: true });
    const { stdout, status } = await root.berth("plan", "web");
    expect(status).toBe(0);
    expect(stdout).toMatch(/^#000 host {4}/);
    expect(stdout).toMatch(/^#\d+ init +execute \/sbin\/init/m);
  });
});

test("plan needs no root: of a tree that can be read it has the steps that root is shown, and makes nothing", async (ctx) => {
  needsHere(ctx, "tool:setpriv");
  await using root = berthRoot();
  const tree = join(root.path, "tree");
  await probeTree({ at: tree, init: true });
  const above = dirname(root.path);
  for (const directory of [above, root.path, tree]) chmodSync(directory, 0o755);
  // It is all tests', who would be told that users of the host can come to their trees.
  ctx.onTestFinished(() => chmodSync(above, 0o700));
  const before = readdirSync(root.path, { recursive: true }).sort();
  const words = [BERTH, "plan", "-D", tree, "-b", "--private-users=900000:65536", "--json"];
  const [ours, theirs] = await Promise.all(
    [[], ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]].map(
      (user) => root.spawn([...user, ...words]).end,
    ),
  );
  expect(theirs?.status, theirs?.stderr).toBe(0);
  const described = (text = ""): string[] =>
    (JSON.parse(text) as { steps: { phase: string; kind: string }[] }).steps.map(
      ({ phase, kind }) => `${phase} ${kind}`,
    );
  expect(described(theirs?.stdout)).toEqual(described(ours?.stdout));
  expect(readdirSync(root.path, { recursive: true }).sort()).toEqual(before);
});

describe("roots", () => {
  test("do not see each other's machines, and --root says which", async () => {
    await using one = berthRoot();
    await using other = berthRoot();
    const tree = await probeTree();
    await using child = one.start("run", "-D", tree, "-M", "m", "--pipe", "--", ...probe("init", "--term"));
    await one.recordWhen("m");
    expect(await json(other, "list", "--json")).toEqual([]);
    expect((await other.berth("exec", "m", "--", ...probe("cwd"))).status).toBe(125);
    expect(await json(other, "--root", one.path, "list", "--json")).toHaveLength(1);
    expect(await json(other, `--root=${one.path}`, "list", "--json")).toHaveLength(1);
    // The same name in the other root is another machine.
    const own = await probeTree({ at: join(other.machines, "m") });
    expect((await other.run(own, ["-M", "m"], probe("exit", "3"))).status).toBe(3);
    child.kill();
    expect((await child.end).status).toBe(0);
  });

  test("damaged records are passed over, and a root that is no directory is an error by name", async () => {
    await using root = berthRoot();
    const records = join(root.path, "run/running");
    const damage: Record<string, string> = {
      cut: '{"version":1,"na',
      empty: "",
      future: '{"version":99}',
      odd: "[]",
      nothing: "null",
    };
    for (const [name, text] of Object.entries(damage)) {
      mkdirSync(join(records, name), { recursive: true });
      writeFileSync(join(records, name, "record.json"), text);
    }
    expect(await json(root, "list", "--json")).toEqual([]);
    expect((await root.run(await probeTree(), ["-M", "cut"], probe("exit", "3"))).status).toBe(3);
    expectFailure(
      await root.berth("--root=/dev/null", "run", "-D", await probeTree(), "-M", "m", "--", "/x"),
      125,
      /\/dev\/null/,
    );
  });

  test("a damaged ledger of id ranges is made anew", async () => {
    await using root = berthRoot();
    writeFileSync(join(root.machines, ".berth-ranges.json"), '{"version":1,"ran');
    expect((await root.run(await probeTree(), ["-M", "m"], probe("exit", "3"))).status).toBe(3);
  });
});

describe("pipes", () => {
  test.each(["list", "help", "plan -D TREE"])("%s into a closed one ends quietly", async (words) => {
    await using root = berthRoot();
    const argv = words.replace("TREE", await probeTree()).split(" ");
    const { stderr } = await root.spawn(["sh", "-c", `"$@" | true`, "sh", BERTH, ...argv]).end;
    expect(stderr.replace("no machines\n", "")).toBe("");
  });
});
