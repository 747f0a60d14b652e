/** What settings make of the payload's own process: seen from inside, by what joins it, and refused where impossible. */
import { readFileSync, symlinkSync } from "node:fs";
import { join as joinPath } from "node:path";
import { describe, expect, test } from "vitest";
import { BERTH, type BerthRoot, berthRoot } from "../lib/berth.ts";
import { interview } from "../lib/interview.ts";
import { parseProbe, probe, probeTree } from "../lib/probe.ts";
import { missing, needsHere } from "../lib/requires.ts";
import { setUpProbe } from "../lib/set-up.ts";

const { tree } = setUpProbe();

/** What a command says that joins machine m, which runs with its settings; and what its start said. */
async function join(root: BerthRoot, command: readonly string[]): Promise<{ joined: string; stderr: string }> {
  const bootable = await probeTree({ init: true });
  const init = ["/sbin/init", "--term"];
  await using machine = root.start("run", "-D", bootable, "-M", "m", "--console=read-only", "--", ...init);
  await machine.until(/^up/m);
  await root.recordWhen("m");
  const joined = await root.berth("exec", "m", "--", ...command);
  machine.kill();
  await machine.end;
  return { joined: joined.stdout, stderr: machine.stderr };
}

const firstCpu = Number(/^Cpus_allowed_list:\s*(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? 0);
/** Those that no default is below can only be raised with it. */
const mayRaise = missing("cap:CAP_SYS_RESOURCE") === undefined;
const EVERY_LIMIT = `LimitCPU=1h:2h
LimitFSIZE=1G:2G
LimitDATA=3G
LimitSTACK=1M:2M
LimitCORE=infinity
LimitRSS=1G:infinity
LimitNOFILE=16:${mayRaise ? 600000 : 600}
LimitAS=4G
LimitNPROC=50:100
LimitMEMLOCK=${mayRaise ? "16M:32M" : "16K:32K"}
LimitLOCKS=7
LimitSIGPENDING=8:9
LimitMSGQUEUE=${mayRaise ? "1M:2M" : "1K:2K"}
LimitNICE=${mayRaise ? "+5:-5" : 0}
LimitRTPRIO=${mayRaise ? "1:2" : 0}
LimitRTTIME=5ms:1s`;
const SEEN_LIMITS = {
  cpu: { soft: 3600, hard: 7200 },
  fsize: { soft: 2 ** 30, hard: 2 ** 31 },
  data: { soft: 3 * 2 ** 30, hard: 3 * 2 ** 30 },
  stack: { soft: 2 ** 20, hard: 2 ** 21 },
  core: { soft: null, hard: null },
  rss: { soft: 2 ** 30, hard: null },
  nofile: { soft: 16, hard: mayRaise ? 600000 : 600 },
  as: { soft: 2 ** 32, hard: 2 ** 32 },
  nproc: { soft: 50, hard: 100 },
  memlock: mayRaise ? { soft: 2 ** 24, hard: 2 ** 25 } : { soft: 2 ** 14, hard: 2 ** 15 },
  locks: { soft: 7, hard: 7 },
  sigpending: { soft: 8, hard: 9 },
  msgqueue: mayRaise ? { soft: 2 ** 20, hard: 2 ** 21 } : { soft: 2 ** 10, hard: 2 ** 11 },
  nice: mayRaise ? { soft: 15, hard: 25 } : { soft: 0, hard: 0 },
  rtprio: mayRaise ? { soft: 1, hard: 2 } : { soft: 0, hard: 0 },
  rttime: { soft: 5000, hard: 1_000_000 },
};

test("WorkingDirectory=, NoNewPrivileges=, Personality=, OOMScoreAdjust=, CPUAffinity=, Limit%s=: of the payload and of what joins it", async () => {
  await using root = berthRoot();
  root.settings(
    "m",
    `[Exec]
WorkingDirectory=/var/log
NoNewPrivileges=yes
Personality=${process.arch === "x64" ? "x86" : "arm64"}
OOMScoreAdjust=321
CPUAffinity=${firstCpu}
${EVERY_LIMIT}`,
  );
  const talk = interview({
    limits: ["limits"],
    process: ["process"],
    ids: ["ids"],
    host: ["hostname"],
    status: ["cat", "/proc/self/status"],
    cwd: ["cwd"],
  });
  const payload = await root.run(tree, ["-M", "m"], talk.command);
  const { joined, stderr } = await join(root, talk.command);
  for (const [what, output] of [
    ["payload", payload.stdout],
    ["joined", joined],
  ] as const) {
    const answers = talk.answers(output);
    expect(answers.line("limits"), what).toMatchObject(SEEN_LIMITS);
    expect(answers.line("process"), what).toMatchObject({ oomScoreAdj: "321" });
    expect(answers.line("ids")["noNewPrivileges"], what).toBe(true);
    if (process.arch === "x64") expect(answers.line("host")["machine"], what).toBe("i686");
    expect(answers.text("status"), what).toMatch(new RegExp(`^Cpus_allowed_list:\\s*${firstCpu}\\r?$`, "m"));
    expect(answers.line("cwd")["cwd"], what).toBe(what === "payload" ? "/var/log" : "/");
  }
  const weaker = ["real-time scheduling", "negative nice level", `[${root.etc}/machines/m.nspawn:`];
  for (const words of mayRaise ? weaker : []) expect(stderr).toContain(words);
});

test("--chdir, --no-new-privileges, --oom-score-adjust, --cpu-affinity, --rlimit: the same as options", async () => {
  await using root = berthRoot();
  const talk = interview({ limits: ["limits"], process: ["process"], ids: ["ids"], cwd: ["cwd"] });
  const { stdout } = await root.run(
    tree,
    [
      "--chdir=/usr/lib",
      "--no-new-privileges=yes",
      "--oom-score-adjust=7",
      `--cpu-affinity=${firstCpu}`,
      "--rlimit=RLIMIT_CORE=1K:infinity",
      "--rlimit=NOFILE=9",
    ],
    talk.command,
  );
  const answers = talk.answers(stdout);
  expect(answers.line("limits")).toMatchObject({ core: { soft: 1024, hard: null }, nofile: { soft: 9, hard: 9 } });
  expect(answers.line("process")).toMatchObject({ oomScoreAdj: "7" });
  expect(answers.line("ids")["noNewPrivileges"]).toBe(true);
  expect(answers.line("cwd")["cwd"]).toBe("/usr/lib");
  const safe = await root.run(tree, ["--oom-score-adjust=-7"], probe("process"));
  expect(safe.stderr).toContain("killed before its own when memory is short (-7) [--oom-score-adjust=-7]");
  if (mayRaise) expect(parseProbe(safe.stdout, "process")).toMatchObject({ oomScoreAdj: "-7" });
  else expect(safe.stderr).toMatch(/oom_score_adj: EACCES.*\nhint: berth has no CAP_SYS_RESOURCE here/);
});

test("LimitNPROC=: counts the processes of the machine's own users, whoever else runs", async () => {
  await using root = berthRoot();
  const own = await probeTree({ at: joinPath(root.machines, "m") });
  for (const name of ["bin", "lib", "lib64"]) symlinkSync(`usr/${name}`, joinPath(own, name));
  const forks = (count: number): string[] => [
    "sh",
    "-c",
    `for i in $(/usr/bin/seq ${count}); do /usr/bin/sleep 2 & done; echo forked`,
  ];
  const run = (limit: number, count: number) =>
    root.run(own, ["--bind-ro=/usr", `--rlimit=NPROC=${limit}`], forks(count));
  expect((await run(20, 5)).stdout).toBe("forked\n");
  const refused = await run(3, 5);
  expect(refused.stderr).toMatch(/[Cc]annot fork|Resource temporarily unavailable/);
});

test("SuppressSync=yes, RestrictAddressFamilies=AF_UNIX: hold in the machine and for what joins it", async () => {
  await using root = berthRoot();
  root.settings(
    "m",
    "[Exec]\nSuppressSync=yes\nRestrictAddressFamilies=AF_UNIX AF_INET\nRestrictAddressFamilies=~AF_INET",
  );
  const [fsync, socket] = process.arch === "x64" ? ["74", "41"] : ["82", "198"];
  const talk = interview({
    fsync: ["syscall", fsync, "-1"],
    unix: ["syscall", socket, "1", "1", "0"],
    inet: ["syscall", socket, "2", "1", "0"],
  });
  const { joined } = await join(root, talk.command);
  const payload = await root.run(tree, ["-M", "m"], talk.command);
  for (const output of [payload.stdout, joined]) {
    const answers = talk.answers(output);
    expect(answers.line("fsync")).toMatchObject({ result: 0, errno: null });
    expect(answers.line("unix")["errno"]).toBe(null);
    expect(answers.line("inet")["errno"]).toBe("EAFNOSUPPORT");
  }
});

describe("what can't be", () => {
  test.each([
    process.arch === "x64"
      ? ["Personality=arm64", /Personality=arm64: this host is x86-64, expected x86 or x86-64/]
      : ["Personality=x86", /Personality=x86: this host is arm64, expected arm or arm64/],
    ["LimitNOFILE=99999999999", /LimitNOFILE=: 99999999999 is more than berth can give, expected at most \d+/],
  ])("%s is refused before anything is made, with its place", async (line, message) => {
    await using root = berthRoot();
    const path = root.settings("m", `[Exec]\n${line}`);
    const { status, stdout, stderr } = await root.run(tree, ["-M", "m"], probe("cwd"));
    expect([status, stdout]).toEqual([125, ""]);
    expect(stderr).toMatch(message);
    expect(stderr).toContain(`${path}:2:`);
  });

  test.each([
    ["WorkingDirectory=/nowhere", /chdir \/nowhere: ENOENT.*m\.nspawn:2\]/],
    ["CPUAffinity=8191", /sched_setaffinity: EINVAL.*m\.nspawn:2\]\nhint: none of these CPUs/],
  ])("%s fails the start, and nothing is left", async (line, message) => {
    await using root = berthRoot();
    root.settings("m", `[Exec]\n${line}`);
    const { status, stderr } = await root.run(tree, ["-M", "m"], probe("cwd"));
    expect(status).toBe(125);
    expect(stderr).toMatch(message);
  });

  test("a limit above berth's own is refused without CAP_SYS_RESOURCE, and infinity is as much as there is", async (ctx) => {
    needsHere(ctx, "tool:setpriv");
    await using root = berthRoot();
    const without = (limit: string) =>
      root.spawn([
        "bash",
        "-c",
        'ulimit -n 5000; exec setpriv --bounding-set -sys_resource "$@"',
        "bash",
        BERTH,
        "run",
        "-q",
        "-D",
        tree,
        "-M",
        "m",
        "--pipe",
        `--rlimit=NOFILE=${limit}`,
        "--",
        ...probe("limits"),
      ]).end;
    expect((await without("6000")).stderr).toMatch(/6000 is more than berth can give.*\nhint: .*no CAP_SYS_RESOURCE/);
    expect(parseProbe((await without("infinity")).stdout, "limits")["nofile"]).toEqual({ soft: 5000, hard: 5000 });
  });
});
