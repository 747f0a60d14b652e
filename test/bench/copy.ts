/** `berth copy-to` beside cp, whole commands: one file of 1 GiB, and 10000 small ones. */
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { probe, probeTree } from "../lib/probe.ts";
import { BERTH, type Contestant, command, compileC, options, report, roundRobin, workDirectory } from "./lib.ts";

const given = options(7);
const work = workDirectory();
const stopwatch = compileC("stopwatch", work);
const env = { BERTH_ROOT: work };
const tree = await probeTree({ at: join(work, "machines/m"), init: true });
const machine = spawn(BERTH, ["run", "-q", "-M", "m", "--console=passive", "--", ...probe("init", "--term")], {
  env: { ...process.env, ...env },
  stdio: "inherit",
});
process.on("exit", () => machine.kill("SIGKILL"));
execFileSync("sh", ["-c", `until ${BERTH} list | grep -q running; do sleep 0.1; done`], {
  env: { ...process.env, ...env },
});

const large = join(work, "large");
execFileSync("dd", ["if=/dev/urandom", `of=${large}`, "bs=1M", "count=1024", "status=none"]);
const small = join(work, "small");
mkdirSync(small);
for (let number = 0; number < 10_000; number++) writeFileSync(join(small, `${number}`), `${number}\n`);

await compare("copy-to of 1 GiB", large);
await compare("copy-to of 10000 small files", small);
machine.kill("SIGTERM");

async function compare(title: string, source: string): Promise<void> {
  const [theirs, ours] = [join(tree, "of-cp"), join(tree, "of-berth")];
  const results = await roundRobin(
    [
      time("cp", "-a", theirs, ["cp", "-a", "-T", source, theirs]),
      time("berth copy-to", "with berth's own start", ours, [BERTH, "copy-to", "-q", "m", source, "/of-berth"]),
    ],
    given.rounds,
    1,
  );
  report({ title, ratioOf: "to exit", against: ["cp"] }, results, given);
}

/** What the last round made is removed before, and what this one did afterwards. */
function time(name: string, note: string, target: string, argv: readonly string[]): Contestant {
  const timed = command(stopwatch, { name, note, argv, env });
  const remove = (): void => void execFileSync("rm", ["-rf", target]);
  return {
    ...timed,
    async run() {
      remove();
      const sample = await timed.run();
      remove();
      return sample;
    },
  };
}
