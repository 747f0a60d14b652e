/**
 * What settings cost a start: the default machine, the same with one thing more each, and with all of it at once. In one
 * process and hot, so that the difference is what the setting itself does; how many operations of the stage that is
 * stands beside it.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { findSetting, SETTINGS } from "../../src/config/settings.ts";
import { discardSpare, inProcess, keepCgroup } from "./in-process.ts";
import { type Contestant, options, report, roundRobin, workDirectory } from "./lib.ts";
import { copyOfDebian } from "./peers.ts";

const WARMUP = 20;
const given = options(51);
const work = workDirectory();
const tree = await copyOfDebian(join(work, "tree"));
const shared = join(work, "shared");
mkdirSync(shared);

/** Each one thing that a machine may be given besides the default. */
const MORE: Readonly<Record<string, readonly string[]>> = {
  "environment, name, id": ["Environment=A=1", "Hostname=bench.example", "MachineID=0123456789abcdef0123456789abcdef"],
  capabilities: ["Capability=CAP_IPC_LOCK", "DropCapability=CAP_MKNOD"],
  "no new privileges": ["NoNewPrivileges=yes"],
  "system calls": ["SystemCallFilter=keyctl", "SystemCallFilter=~bpf", "SuppressSync=yes"],
  "16 limits": SETTINGS.filter(({ key }) => key.startsWith("Limit")).map(({ key }) => `${key}=${limitOf(key)}`),
  "score, directory": ["OOMScoreAdjust=100", "WorkingDirectory=/usr"],
  "a user": ["User=daemon"],
  "resolv.conf, time zone": ["ResolvConf=replace-host", "Timezone=symlink"],
  "a bind": [`Bind=${shared}:/mnt/a`],
  "a read-only bind": [`BindReadOnly=${shared}:/mnt/b`],
  "an id-mapped bind": [`Bind=${shared}:/mnt/c:idmap`],
  "a tmpfs": ["TemporaryFileSystem=/mnt/d"],
  "a path covered": ["Inaccessible=/etc/motd"],
  "an overlay": [`OverlayReadOnly=${shared}:+/usr:/mnt/e`],
  "a read-only root": ["ReadOnly=yes"],
  "a throw-away copy": ["Ephemeral=yes"],
  "a stub init": ["ProcessTwo=yes"],
};

/** A read-only root has nothing that could be thrown away, or written into. */
const together = Object.values(MORE)
  .flat()
  .filter((line) => !/^(ReadOnly)=/.test(line));
const machines = Object.entries({ default: [], ...MORE, everything: together });
const [first] = machines;
const making = machines.map(async ([name, lines]): Promise<Contestant & { warm(): Promise<void> }> => {
  const assignments = lines.map((text) => {
    const [, key = "", value = ""] = /^(\w+)=(.*)$/.exec(text) ?? [];
    const section = SETTINGS.find((setting) => setting.key === key)?.section;
    if (section === undefined || findSetting(section, key) === undefined) throw new Error(`${key} is no setting`);
    return { section, key, value, option: text };
  });
  const machine = inProcess(work, tree, ["/bin/true"], assignments);
  if (name === first?.[0]) keepCgroup(await machine.plan());
  return {
    name,
    note: `${await machine.operations()} operations of the stage`,
    run: () => machine.launch(),
    warm: async () => {
      for (let n = 0; n < WARMUP; n++) await machine.launch();
    },
  };
});
const contestants = await Promise.all(making);
for (const { warm } of contestants) await warm();
const results = await roundRobin(contestants, given.rounds);
await discardSpare();
report({ title: "What settings add to a start", ratioOf: "to exec", against: ["default"] }, results, given);

function limitOf(key: string): string {
  return key === "LimitNICE" || key === "LimitRTPRIO" ? "0" : "1024";
}
