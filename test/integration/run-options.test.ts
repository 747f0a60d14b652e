/** Options of `berth run` that set no setting, and what is said of wrong ones. */
import { existsSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { BERTH, berthRoot, poll } from "../lib/berth.ts";
import { parseProbe, probe, probeTree } from "../lib/probe.ts";
import { openTerminal } from "../lib/pty.ts";
import { needs } from "../lib/requires.ts";
import { setUpProbe } from "../lib/set-up.ts";

const { tree } = setUpProbe();

/** The host name inside and a variable, both of which settings and options set here. */
const ASK = probe("hostname", "--", "env");
function answers(stdout: string): { name: unknown; variable: unknown } {
  const env = parseProbe(stdout, "env")["env"] as Record<string, string>;
  return { name: parseProbe(stdout, "hostname")["hostname"], variable: env["FROM"] };
}

describe("--settings", () => {
  const options = ["-M", "m", "--hostname=typed"];

  test("--settings=yes: options win over files", async () => {
    await using root = berthRoot();
    root.settings("m", "[Exec]\nHostname=written\nEnvironment=FROM=file");
    for (const mode of [[], ["--settings=yes"]]) {
      const { stdout } = await root.run(tree, [...options, ...mode], ASK);
      expect(answers(stdout)).toEqual({ name: "typed", variable: "file" });
    }
  });

  test("--settings=override: files win over options, their command and their way to start among it", async () => {
    await using root = berthRoot();
    root.settings("m", `[Exec]\nHostname=written\nEnvironment=FROM=file\nBoot=no\nParameters=${ASK.join(" ")}`);
    const { stdout } = await root.run(
      tree,
      [...options, "--settings=override", "-b", "-E", "FROM=option"],
      ["/nothing"],
    );
    expect(answers(stdout)).toEqual({ name: "written", variable: "file" });
  });

  test("--settings=no: no file is read, wrong ones neither", async () => {
    await using root = berthRoot();
    root.settings("m", "[Exec]\nHostname=written\nEnvironment=FROM=file\nPrivateUsers=nonsense");
    const { stdout, stderr } = await root.run(tree, ["-M", "m", "--settings=no"], ASK);
    expect([answers(stdout), stderr]).toEqual([{ name: "m", variable: undefined }, ""]);
  });

  test("--settings=trusted: what lies beside the trees, or others may write to, counts whole; options still win", async () => {
    await using root = berthRoot();
    const bound = root.directory("bound");
    const text = `[Exec]\nHostname=written\nEnvironment=FROM=file\n[Files]\nBindReadOnly=${bound}:/mnt\n`;
    writeFileSync(join(root.machines, "m.nspawn"), text, { mode: 0o666 });
    const command = [...ASK, "--", "ls", "/mnt"];
    const usual = await root.run(tree, options, command);
    expect(usual.stderr).toContain("BindReadOnly= is ignored");
    expect(parseProbe(usual.stdout).at(-1)).toMatchObject({ error: "ENOENT" });
    const trusted = await root.run(tree, [...options, "--settings=trusted"], command);
    expect(trusted.stderr).toBe("");
    expect(answers(trusted.stdout)).toEqual({ name: "typed", variable: "file" });
    expect(parseProbe(trusted.stdout, "ls")).not.toHaveProperty("error");
  });
});

test("--no-pager, --no-ask-password, --system and --register=no make no difference", async () => {
  await using root = berthRoot();
  const options = ["--no-pager", "--no-ask-password", "--system", "--register=no", "--register=auto"];
  expect(await root.run(tree, options, probe("exit", "7"))).toMatchObject({ status: 7, stderr: "" });
});

test("--cleanup: removes what a machine left whose berth and keeper were killed, and starts nothing", async () => {
  await using root = berthRoot();
  const child = root.start("run", "-D", tree, "-M", "m", "-x", "--console=passive", "--", ...probe("init", "--term"));
  const { supervisor, keeper, cgroup } = await root.recordWhen("m", ({ state }) => state === "running");
  process.kill(supervisor.pid, "SIGSTOP"); // it can't clean up itself, nor notice
  process.kill(keeper.pid, "SIGKILL");
  process.kill(supervisor.pid, "SIGKILL");
  await child.end;
  expect(root.leftovers()).not.toEqual([]);
  // What the keeper was the parent of ends with it: in the kernel's own time.
  await poll("the end of the machine", () => (root.leftovers().length > 0 ? true : undefined));
  expect(await root.berth("run", "--cleanup", "-M", "m")).toMatchObject({ status: 0, stdout: "" });
  expect([root.leftovers(), existsSync(cgroup)]).toEqual([[], false]);
});

describe("wrong usage is status 2, whoever finds it", () => {
  test.each([
    [["--no-such-option"], "unknown option"],
    [["--bind"], "argument missing"],
    [["--console=loud"], "unknown mode"],
    [["--settings=maybe"], "unknown mode"],
    [["--private-users=nonsense"], "no range of users"],
    [["--kill-signal=SIGNONE"], "unknown signal"],
    [["--rlimit=NOTHING=1"], "names no resource limit"],
    [["--bind=relative:relative"], "not absolute"],
    [["-M", "a/b"], "may not contain"],
    [["--set-credential=nothing"], "there is no"],
    [["--register=yes"], "not in effect yet"],
    [["--background=blue"], "no background colour"],
    [["--selinux-context=nothing"], "no security context"],
    [["--bind-user-group=a:b"], "no group name"],
    [["--slice=a/b"], "no name of a slice"],
    [["--property=MemoryMax"], "sets nothing"],
    [["--oci-bundle=/x"], "not in effect yet"],
  ])("%j", async (options, message) => {
    await using root = berthRoot();
    for (const verb of ["run", "plan"]) {
      const { status, stdout, stderr } = await root.berth(verb, "-D", tree, ...options);
      expect([status, stdout], verb).toEqual([2, ""]);
      expect(stderr, verb).toContain(message);
    }
  });

  test("but a host or a tree that is not as it should be is 125, the fix being a hint", async () => {
    await using root = berthRoot();
    const noInit = await root.berth("run", "-D", tree, "-b");
    expect(noInit.status).toBe(125);
    expect(noInit.stderr).toMatch(/^berth: .*has no init to boot.*[^)]\nhint: install an init .*\n$/);
    const noSource = await root.berth("run", "-D", tree, "--bind=/no/such:/mnt");
    expect(noSource.status).toBe(125);
    expect(noSource.stderr).toMatch(/can't be opened: ENOENT.*[^)]\nhint: mkdir -p \/no\/such\n$/);
  });
});

describe("on a host that systemd does not run", () => {
  needs("no-systemd");
  test.each(["--slice=web", "-Sweb.slice", "--property=MemoryMax=1G"])(
    "--slice and --property are refused: %s",
    async (option) => {
      await using root = berthRoot();
      const { status, stdout, stderr } = await root.berth("run", "-D", tree, option, "--", "/bin/true");
      expect([status, stdout]).toEqual([125, ""]);
      expect(stderr).toMatch(/^berth: --\S+: there are no units here: systemd does not run this host\nhint: .*\n$/);
    },
  );

  test("--keep-unit asks for nothing", async () => {
    await using root = berthRoot();
    expect(await root.run(tree, ["--keep-unit", "--register=no"], ASK)).toMatchObject({ status: 0, stderr: "" });
  });
});

test("-E NAME: is berth's own variable, and none with a warning where berth has none", async () => {
  await using root = berthRoot();
  const { status, stdout, stderr } = await root.run(tree, ["-E", "FROM", "--setenv=BERTH_TEST_NONE"], ASK, {
    env: { FROM: "berth's own" },
  });
  expect([status, answers(stdout).variable]).toEqual([0, "berth's own"]);
  expect(stderr).toMatch(/^berth: --setenv=BERTH_TEST_NONE: warning: there is no such variable here/);
  expect(parseProbe(stdout, "env")["env"]).not.toHaveProperty("BERTH_TEST_NONE");
});

test("-D /: the host's own root is left as it is, whatever it is called, and its mounts are not to blame on it", async () => {
  await using root = berthRoot();
  for (const path of ["/", "/proc/self/root"]) {
    const machine = ["run", "-D", path, "-M", "m", "--private-users-ownership=chown"];
    const { status, stderr } = await root.berth(...machine, "--", "/bin/true");
    expect(status).toBe(125);
    expect(stderr).toContain("is the host's own root, expected a tree of the machine's own");
  }
  const mapped = await root.berth("run", "-D", "/", "-x", "--", "/bin/true");
  expect(mapped.stderr).toContain("what is mounted below it can't all be mapped");
  expect(mapped.stderr).toContain("hint: --private-users=no");
});

test("--bind=PATH:PATH:idmap: a mount below that can't be mapped is named", async () => {
  await using root = berthRoot();
  const { status, stderr } = await root.run(tree, ["--bind-ro=/:/mnt:idmap"], ASK);
  expect(status).toBe(125);
  expect(stderr).toMatch(/hint: with it go the mounts below it, and one of them may not be able to map ids: .*norbind/);
});

test("a shell is a login shell by its own name, at home, with a locale", async () => {
  await using root = berthRoot();
  const own = await probeTree({ at: join(root.machines, "m") });
  for (const name of ["bin", "lib", "lib64"]) symlinkSync(`usr/${name}`, join(own, name));
  await using terminal = openTerminal();
  const { end } = terminal.spawn([BERTH, "run", "-q", "-M", "m", "--bind-ro=/usr"], root.env);
  terminal.type('echo "$0 $(pwd) $LANG [$POSIXLY_CORRECT]"; exit 3\n');
  expect((await end).status).toBe(3);
  expect(terminal.output).toContain("-bash /root C.UTF-8 []");
});

test("without -D and -M the tree is the current directory", async () => {
  await using root = berthRoot();
  const command = [BERTH, "run", "-M", "", "--pipe"].filter((word) => word !== "" && word !== "-M");
  await using child = root.spawn([...command, "--", ...probe("exit", "9")], { cwd: tree });
  expect(await child.end).toMatchObject({ status: 9 });
});

test("that a machine boots is not said of one that can't", async () => {
  await using root = berthRoot();
  await using terminal = openTerminal();
  const { end } = terminal.spawn([BERTH, "run", "-D", join(root.path, "none"), "-b"], root.env);
  expect(await end).toMatchObject({ status: 125 });
  expect(terminal.output).toContain("none");
  expect(terminal.output).not.toContain("booting");
});

test("help VERB is VERB --help; --help-all marks what is not in effect", async () => {
  await using root = berthRoot();
  const [help, all, verbs] = await Promise.all([
    root.berth("help", "run"),
    root.berth("run", "--help-all"),
    root.berth("help"),
  ]);
  expect(help).toMatchObject({ status: 0, stderr: "" });
  expect(help.stdout).toBe((await root.berth("run", "--help")).stdout);
  expect(all.stdout).toMatch(/--network-bridge <\w+> .*\(not in effect\s+yet\)/s);
  expect(verbs.stdout).toContain("berth help VERB");
  expect(await root.berth("help", "nothing")).toMatchObject({ status: 2, stdout: "" });
});
