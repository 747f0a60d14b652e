/**
 * A machine from a distribution's packages: plain mmdebstrap with the options and packages of our recipe, the first
 * `berth bootstrap` (which also fills the cache), and the second of the same kind. One after the other, once a round.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { findTool } from "../lib/requires.ts";
import { BERTH, type Contestant, options, report, roundRobin, type Sample, skip, workDirectory } from "./lib.ts";

const RELEASE = "bookworm";
/** As in the recipe: without it bookworm installs usrmerge, and with it all of perl. */
const HOOK = "/usr/share/mmdebstrap/hooks/maybe-merged-usr";
const PACKAGES = [
  "systemd",
  "systemd-sysv",
  "dbus",
  "libpam-systemd",
  "libnss-myhostname",
  "login",
  "passwd",
  "procps",
  "iproute2",
  "iputils-ping",
  "netbase",
];

const given = options(1);
const work = workDirectory();
const debootstrap = findTool("debootstrap");
if (debootstrap === undefined) skip("debootstrap", "it is not installed here");

const contestants: Contestant[] = [
  build("mmdebstrap", "the recipe's packages, all their files", (directory) => {
    const options = ["--quiet", "--variant=minbase", `--hook-directory=${HOOK}`, `--include=${PACKAGES.join(",")}`];
    run("mmdebstrap", [...options, RELEASE, directory]);
  }),
  build("berth bootstrap, first", "builds, fills the cache", () => {
    rmSync(join(work, "cache"), { recursive: true, force: true });
    berth();
  }),
  build("berth bootstrap, second", "from the cache", berth),
  ...(debootstrap === undefined
    ? []
    : [
        build("debootstrap", "the same, and usrmerge with perl", (directory) => {
          run(debootstrap, ["--variant=minbase", `--include=${PACKAGES.join(",")}`, RELEASE, directory]);
        }),
      ]),
];
const results = await roundRobin(contestants, given.rounds, 0);
report({ title: `Bootstrap of Debian ${RELEASE}`, ratioOf: "took", against: ["mmdebstrap"] }, results, given);

/** A build into a directory of its own, which is gone before the next one begins. */
function build(name: string, note: string, make: (directory: string) => void): Contestant {
  return {
    name,
    note,
    async run(): Promise<Sample> {
      const directory = join(work, "machines/bench");
      mkdirSync(join(work, "machines"), { recursive: true });
      execFileSync("sync", ["-f", work]);
      const begin = performance.now();
      make(directory);
      const took = performance.now() - begin;
      rmSync(directory, { recursive: true });
      return { took };
    },
  };
}

function berth(): void {
  run(BERTH, ["bootstrap", RELEASE, "bench"]);
}

function run(program: string, args: readonly string[]): void {
  const env = { ...process.env, BERTH_ROOT: work, BERTH_CACHE: join(work, "cache"), DEBIAN_FRONTEND: "noninteractive" };
  execFileSync(program, args, { env, stdio: ["ignore", "ignore", "pipe"] });
}
