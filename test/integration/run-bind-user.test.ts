/** BindUser=: a user of the host is one of the machine, with the home directory and the password. */
import { execFileSync } from "node:child_process";
import { appendFileSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { BerthRoot, berthRoot } from "../lib/berth.ts";
import { HASH, hostUser } from "../lib/host-user.ts";
import { interview } from "../lib/interview.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";
import { setUpProbe } from "../lib/set-up.ts";
import { debianTree } from "../lib/trees.ts";

const { tree } = setUpProbe({}, "tool:useradd");

test("BindUser=, BindUserShell=yes: records, home and owners are right inside and on disk", async () => {
  await using root = berthRoot();
  using one = hostUser(root.directory(`home-${`berth-a${process.pid}`}`, 0o700), `berth-a${process.pid}`);
  using two = hostUser(root.directory(`home-${`berth-b${process.pid}`}`, 0o700), `berth-b${process.pid}`, "shared");
  // Another's file in the home is nobody's inside.
  writeFileSync(join(one.home, "roots"), "");
  root.settings("m", `[Files]\nBindUser=${one.name}\nBindUser=${two.name}\nBindUserShell=yes`);
  const db = "/run/host/userdb";
  const home = `/run/host/home/${one.name}`;
  const talk = interview({
    user: ["cat", `${db}/${one.name}.user`],
    second: ["cat", `${db}/${two.name}.user`],
    group: ["cat", `${db}/${one.name}.group`],
    secret: ["cat", `${db}/${one.name}.user-privileged`],
    secretFile: ["stat", `${db}/${one.name}.user-privileged`],
    link: ["stat", `${db}/60514.user`],
    groupLink: ["stat", `${db}/60515.group`],
    home: ["stat", home],
    mine: ["stat", `${home}/mine`],
    shared: ["stat", `/run/host/home/${two.name}/mine`],
    roots: ["stat", `${home}/roots`],
    read: ["cat", `${home}/mine`],
    change: ["write", `${home}/mine`, "from inside"],
    write: ["write", `${db}/x.user`, "{}"],
  });
  const { stdout, stderr } = await root.run(tree, ["-M", "m", "-x"], talk.command);
  const answers = talk.answers(stdout);
  const common = { disposition: "regular", service: "io.berth" };
  const user = { userName: one.name, uid: 60514, gid: 60514, homeDirectory: home, shell: "/bin/zsh", ...common };
  expect(JSON.parse(answers.text("user"))).toEqual(user);
  expect(JSON.parse(answers.text("second"))).toMatchObject({ userName: two.name, uid: 60515, gid: 60515 });
  expect(JSON.parse(answers.text("group"))).toEqual({ groupName: one.name, gid: 60514, ...common });
  expect(JSON.parse(answers.text("secret"))).toEqual({ privileged: { hashedPassword: [HASH] } });
  expect(answers.line("secretFile")).toMatchObject({ mode: 0o400, uid: 0, gid: 0 });
  expect(answers.line("link")).toMatchObject({ type: "link", target: `${one.name}.user`, uid: 0 });
  expect(answers.line("groupLink")).toMatchObject({ target: `${two.name}.group` });
  expect(answers.line("home")).toMatchObject({ uid: 60514, gid: 60514, mode: 0o700 });
  expect(answers.line("mine")).toMatchObject({ uid: 60514, gid: 60514 });
  expect(answers.line("shared")).toMatchObject({ uid: 60515, gid: 60515 });
  expect(answers.line("roots")).toMatchObject({ uid: 65534, gid: 65534 });
  expect(answers.text("read")).toBe("from outside\n");
  expect(answers.errors(["change", "write"])).toEqual({ change: undefined, write: "EROFS" });
  expect(stderr).toContain(`root inside may do what the host's user ${one.name} may in the home directory`);
  expect(readFileSync(join(one.home, "mine"), "utf8")).toContain("from inside");
  expect(lstatSync(join(one.home, "mine"))).toMatchObject({ uid: one.uid, gid: one.gid });

  // The hash is nobody's to see who may see the plan.
  const plan = await root.berth("plan", "-D", tree, "-M", "m", "--json");
  expect(plan.stdout).toContain(one.name);
  expect(plan.stdout).not.toContain(HASH);
});

test("--bind-user, --bind-user-shell, --bind-user-group: a shell of one's own, and a user the tree has already is refused", async () => {
  await using root = berthRoot();
  using user = hostUser(root.directory(`home-${`berth-c${process.pid}`}`, 0o700), `berth-c${process.pid}`);
  const own = await probeTree({ at: join(root.machines, "m") });
  mkdirSync(join(own, "etc"), { recursive: true });
  const run = (...words: readonly string[]) =>
    root.run(own, ["-M", "m", ...words], probe("cat", `/run/host/userdb/${user.name}.user`));
  writeFileSync(join(own, "etc/passwd"), "someone:x:60514:1::/:/bin/sh\n");
  writeFileSync(join(own, "etc/group"), "some:x:60515:\n");
  const words = [`--bind-user=${user.name}`, "--bind-user-shell=/bin/rc"];
  for (const users of ["pick", "identity", "1900019712:70000"]) {
    const { stdout } = await run(...words, `--private-users=${users}`);
    expect(JSON.parse(stdout)).toMatchObject({ userName: user.name, uid: 60516, shell: "/bin/rc" });
  }
  const as = await root.run(own, ["-M", "m", ...words, `--user=${user.name}`], probe("ids", "--", "env"));
  expect(as.stdout).toContain(`"HOME":"/run/host/home/${user.name}"`);
  expect(as.stdout).toContain('"uid":60516');
  const plain = await run(`--bind-user=${user.name}`);
  expect(JSON.parse(plain.stdout)).not.toHaveProperty("shell");

  const group = ["--bind-user-group=wheel", "--bind-user-group=none-such"];
  writeFileSync(join(own, "etc/group"), "some:x:60515:\nwheel:x:10:\n");
  const membership = (name: string): readonly string[] => ["stat", `/run/host/userdb/${user.name}:${name}.membership`];
  const talk = interview({
    ids: ["ids"],
    wheel: membership("wheel"),
    other: membership("none-such"),
    user: ["cat", `/run/host/userdb/${user.name}.user`],
  });
  const grouped = talk.answers(
    (await root.run(own, ["-M", "m", ...words, ...group, `--user=${user.name}`], talk.command)).stdout,
  );
  expect(grouped.line("ids")).toMatchObject({ uid: 60516, gid: 60516, groups: [10, 60516] });
  expect(grouped.line("wheel")).toMatchObject({ mode: 0o444, uid: 0 });
  expect(grouped.line("other")).toMatchObject({ mode: 0o444, uid: 0 });
  expect(JSON.parse(grouped.text("user"))).toMatchObject({ memberOf: ["wheel", "none-such"] });

  const refused = async (said: RegExp, ...more: readonly string[]): Promise<void> => {
    const { status, stdout, stderr } = await run(...more);
    expect([2, 125]).toContain(status); // what is typed, and what the host or the tree is like
    expect(stdout).toBe("");
    expect(stderr).toMatch(said);
  };
  await refused(/can't be bound with PrivateUsers=no/, ...words, "--private-users=no");
  await refused(/no user id from 60514 to 60577 is left/, ...words, "--private-users=1900019712:60000");
  await refused(/the host has no user "berth-none"/, "--bind-user=berth-none");
  await refused(/user root can't be bound/, "--bind-user=root");
  appendFileSync(join(own, "etc/group"), `${user.name}:x:7:\n`);
  await refused(/has a user or group berth-c\d+ of its own/, ...words);
});

/** The module that finds such users: what `berth bootstrap` makes does not have it. */
function addNssSystemd(root: BerthRoot, tree: string): void {
  const cwd = root.directory("packages");
  execFileSync("apt-get", ["download", "libnss-systemd"], { cwd, stdio: "pipe" });
  const [file = ""] = readdirSync(cwd);
  execFileSync("dpkg", ["-x", join(cwd, file), tree], { stdio: "pipe" });
  const nsswitch = join(tree, "etc/nsswitch.conf");
  const text = readFileSync(nsswitch, "utf8");
  writeFileSync(nsswitch, text.replace(/^(passwd|group|shadow):.*$/gm, "$1: files systemd"));
}

describe("Debian", () => {
  needs("tool:mmdebstrap", "tool:apt-get");

  test("BindUser=: nss-systemd of Debian knows the user, who owns the home and logs in", async () => {
    await using root = new BerthRoot();
    await using _ = { [Symbol.asyncDispose]: async () => void (await root.berth("terminate", "deb")) };
    using user = hostUser(root.directory(`home-${`berth-d${process.pid}`}`, 0o700), `berth-d${process.pid}`);
    const deb = join(root.machines, "deb");
    execFileSync("cp", ["-a", "--reflink=auto", await debianTree("bookworm"), deb]);
    addNssSystemd(root, deb);
    root.settings("deb", `[Files]\nBindUser=${user.name}`);
    expect(await root.berth("start", "deb")).toMatchObject({ status: 0 });
    const inside = async (...words: readonly string[]): Promise<string> => {
      const { status, stdout, stderr } = await root.berth("exec", "deb", "--", ...words);
      if (status !== 0) throw new Error(`${words.join(" ")}: ${status} ${stdout}${stderr}`);
      return stdout.trim();
    };
    expect(await inside("systemctl", "is-system-running", "--wait")).toBe("running");
    expect(await inside("id", user.name)).toBe(
      `uid=60514(${user.name}) gid=60514(${user.name}) groups=60514(${user.name})`,
    );
    expect(await inside("getent", "shadow", user.name)).toContain(HASH);
    const as = ["su", "-", "-s", "/bin/sh", user.name, "-c"];
    expect(await inside(...as, "pwd; echo new >made; stat -c %U:%G made mine")).toBe(
      [`/run/host/home/${user.name}`, ...Array(2).fill(`${user.name}:${user.name}`)].join("\n"),
    );
    expect(lstatSync(join(user.home, "made"))).toMatchObject({ uid: user.uid, gid: user.gid });
    const entered = await root.berth("exec", "-u", user.name, "deb", "--", "sh", "-c", "id -un; pwd");
    expect(entered.stdout).toBe(`${user.name}\n/run/host/home/${user.name}\n`);
    expect(await root.berth("poweroff", "deb")).toMatchObject({ status: 0 });

    const groups = ["run", "-q", "-M", "deb", "--pipe", "--bind-user-group=users", "--bind-user-group=video"];
    const { stdout } = await root.berth(...groups, "--", "id", "-Gn", user.name);
    expect(stdout.trim().split(" ").toSorted()).toEqual([user.name, "users", "video"].toSorted());
  }, 240_000);
});
