/**
 * What the pure part of a start takes, piece by piece, at its first call in a process (what a command line pays) and
 * after many (a daemon); and what a running machine costs in memory: its keeper.
 */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseUnitFile } from "../../src/config/unit-file.ts";
import { compile } from "../../src/exec/compile.ts";
import { Launch } from "../../src/exec/launch.ts";
import { compileFilter, loadFilter } from "../../src/exec/seccomp-filter.ts";
import { INSTALLATION, stagePath } from "../../src/host/installation.ts";
import { findPaths } from "../../src/host/paths.ts";
import { readHostFacts } from "../../src/host/read-facts.ts";
import { placesOf } from "../../src/machine/places.ts";
import { prepare, readMachineFacts } from "../../src/machine/prepare.ts";
import { buildPlan } from "../../src/plan/build.ts";
import { buildSpec } from "../../src/spec/build-spec.ts";
import type { MachineSpec } from "../../src/spec/machine-spec.ts";
import { byDefault } from "../../src/spec/source.ts";
import {
  type Contestant,
  options,
  pss,
  RUNTIME,
  report,
  roundRobin,
  type Sample,
  spreadOf,
  workDirectory,
} from "./lib.ts";
import { copyOfDebian } from "./peers.ts";

const MACHINES = 10;
const USUAL = `
[Exec]
Boot=yes
Hostname=web
Environment=LANG=C.UTF-8
Environment=HTTP_PROXY=http://proxy.example:3128
NotifyReady=yes
Capability=CAP_NET_ADMIN
DropCapability=CAP_SYS_CHROOT
SystemCallFilter=@keyring
SystemCallFilter=~@swap
PrivateUsers=pick
[Files]
Bind=/srv:/srv:idmap
BindReadOnly=/etc/ssl/certs
[Network]
Private=yes
`;
const VARIABLES = Array.from({ length: 10_000 }, (_, n) => `Environment=VARIABLE_${n}="value ${n}"`);
/** 10,000 lines, of each kind that adds up as many; a machine may not have more than some thousand mounts. */
const OF_ALL_KINDS = Array.from({ length: 1000 }, (_, n) => [
  "[Exec]",
  `Environment=VARIABLE_${n}="value ${n}"`,
  `Parameters=--option-${n} "word ${n}"`,
  "DropCapability=CAP_SYS_CHROOT CAP_SYS_PTRACE",
  "SystemCallFilter=~@swap @reboot",
  `LimitNOFILE=${1000 + n}`,
  `# a comment, and a line that is continued: ${n}`,
  `Environment=A${n}=1 \\\n  B${n}=2`,
  "[Files]",
  `BindReadOnly=/etc:/srv/${n}`,
]).flat();

const given = options(31);
const work = workDirectory();
const tree = await copyOfDebian(join(work, "tree"));
const paths = findPaths(process.env, INSTALLATION, work);
const request = { foreground: false, stdio: "console", term: null } as const;
const [hostFacts, host] = piece("facts of the host", () => readHostFacts());
const contestants = [
  hostFacts,
  once(),
  ...pieces("usual settings", USUAL),
  ...pieces("10,000 variables", `${USUAL}[Exec]\n${VARIABLES.join("\n")}\n`),
  ...pieces("10,000 lines of all kinds", `${USUAL}${OF_ALL_KINDS.join("\n")}\n`),
];
const results = await roundRobin(contestants, given.rounds, 0);
report({ title: "Settings to program, in one process", ratioOf: "took", against: [] }, results, given);
await reportKeepers();

/** From the text to the program that the stage runs, each piece with what the one before it made. */
function pieces(name: string, text: string): Contestant[] {
  const [parse, { assignments }] = piece(`${name}: parse`, () => parseUnitFile(text, "bench.nspawn"));
  const [check, spec] = piece(`${name}: check`, () => specOf(assignments));
  const [facts, machine] = piece(`${name}: facts of tree and binds`, () => readMachineFacts(spec, host, paths));
  const [build, plan] = piece(`${name}: plan`, () =>
    buildPlan({ spec, host, machine, places: placesOf("bench", tree, paths), request }),
  );
  const filters = plan.steps.map((step) => (step.kind === "load-filter" ? compileFilter(step.args.policy) : undefined));
  const filter = filters.find((found) => found !== undefined) ?? Buffer.alloc(0);
  const named = new Map(plan.steps.flatMap(({ args }, index) => ("fd" in args ? [[args.fd, 20 + index]] : [])));
  const fds = { free: 5, keeperEnd: 11, initEnd: 12, named };
  const [compiled] = piece(`${name}: compile`, () => compile(plan, host.arch, fds, filter));
  // The figure that is promised: all of it but for what the host is asked.
  const [all] = piece(`${name}: parse, check, plan and compile`, () => {
    const again = specOf(parseUnitFile(text, "bench.nspawn").assignments);
    compile(
      buildPlan({ spec: again, host, machine, places: placesOf("bench", tree, paths), request }),
      host.arch,
      fds,
      filter,
    );
  });
  return [parse, check, facts, build, compiled, all];
}

/** Usual settings in a process of their own each time, by the program that plan-once.ts is when it is built. */
function once(): Contestant {
  const built = join(work, "once");
  execFileSync("sh", [join(INSTALLATION, ".scripts/build"), "test/bench/plan-once.ts", built]);
  const file = join(work, "usual.nspawn");
  writeFileSync(file, USUAL);
  const argv = [join(built, "berth.cjs"), file, tree];
  const env = { NODE_PATH: join(INSTALLATION, "node_modules") };
  const run = async (): Promise<Sample> => ({ took: Number(execFileSync(RUNTIME, argv, { encoding: "utf8", env })) });
  return { name: "usual settings: parse, check, plan and compile, first time in a process", note: "built", run };
}

function specOf(assignments: ReturnType<typeof parseUnitFile>["assignments"]): MachineSpec {
  const { spec } = buildSpec({
    name: "bench",
    root: byDefault(tree),
    assignments,
    options: [],
    command: [],
    boot: true,
  });
  if (spec === undefined) throw new Error("the settings are wrong");
  return spec;
}

/** A piece by itself, and what its very first run made; that run is told apart. */
function piece<T>(name: string, run: () => T): [Contestant, T] {
  const begin = performance.now();
  const made = run();
  const first = performance.now() - begin;
  const again = async (): Promise<Sample> => {
    const begin = performance.now();
    run();
    return { took: performance.now() - begin };
  };
  return [{ name, note: `first call ${first.toFixed(2)}`, run: again }, made];
}

async function reportKeepers(): Promise<void> {
  const launches = [];
  for (let machine = 0; machine < MACHINES; machine++) {
    const machineRequest = {
      name: `bench-${machine}`,
      directory: tree,
      // Several on one tree.
      options: [{ section: "Exec", key: "Ephemeral", value: "yes", option: "--ephemeral" }],
      command: ["/bin/sleep", "1000"],
      boot: false,
      console: undefined,
    };
    const { plan } = await prepare(machineRequest, paths, INSTALLATION).plan(request);
    const launch = new Launch(plan, {
      stage: stagePath(host.arch),
      arch: host.arch,
      loadFilter: (policy) => loadFilter(policy, paths.cache),
    });
    await launch.run();
    launches.push(launch);
  }
  const { median, min, max } = spreadOf(launches.map(({ keeperPid }) => pss(keeperPid)));
  console.log(`\nPSS of a keeper with ${MACHINES} machines running: ${median} kB (${min}-${max})`);
  for (const launch of launches) {
    process.kill(launch.leaderPid, "SIGKILL");
    await launch.keeperEnd();
    launch.release();
  }
}
