/** Stacks of layers on Debian 12's own kernel (6.1), which takes all layers of an overlay as one short text. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { checkLeaks } from "../lib/leaks.ts";
import { probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";
import { vm } from "../lib/vm.ts";

needs("cc");
checkLeaks();
/** A guest under software emulation: minutes on a busy host. */
const PATIENCE = 30 * 60_000;
/** More than fit into a text of 255 characters by their paths. */
const LAYERS = 8;

const SCRIPT = `
set -u
cd /var/lib/machines
cp -a /job/tree web
berth clone web copy --driver=stack
for options in "" --private-users=no -x --read-only; do
  echo "== $options"
  berth run -q --pipe -M copy $options -- /probe mounts -- write "/etc/by$options" y
done 2>&1
# By a machine, then in its place, as each takes the emulated processor seconds.
berth run -q --pipe -M copy -- /probe write /etc/layer2 y >/dev/null
berth clone copy copy2
for number in $(seq 3 ${LAYERS}); do
  mkdir -p copy.mstack/rw/data/etc; echo y >copy.mstack/rw/data/etc/layer$number
  berth clone copy copy$number
done
echo "== layers"
ls copy${LAYERS}.mstack | grep -c ^layer@
berth run -q --pipe -M copy${LAYERS} -- /probe mounts
berth export-tar copy${LAYERS} | tar -t | grep layer
echo "== start"
berth start copy
berth exec copy -- /probe write /etc/before y >/dev/null
berth snapshot copy kept
berth exec copy -- /probe write /etc/after y >/dev/null
berth terminate copy
berth rollback copy kept
berth export-tar copy | tar -t | grep -E 'etc/(before|after)'
berth start copy && berth exec copy -- /probe cwd && berth terminate copy
echo "== left"
berth list
grep overlay /proc/self/mountinfo
true
`;

test(
  "a stack of many layers runs, with and without a user namespace, is cloned, kept, rolled back and started",
  async () => {
    const job = mkdtempSync(join(tmpdir(), "job-"));
    try {
      await probeTree({ at: join(job, "tree"), init: true });
      const { status, output } = await vm.run(SCRIPT, { directory: job, timeoutSeconds: 1200 });
      expect(status, output).toBe(0);
      const parts = new Map(output.split(/^== /m).map((part) => [part.split("\n")[0]?.trim() ?? "", part]));
      const of = (part: string): string => parts.get(part) ?? "";
      const root = (part: string): string | undefined =>
        of(part)
          .split("\n")
          .find((line) => line.split(" ")[4] === "/");
      for (const options of ["", "--private-users=no", "-x", "--read-only"]) {
        expect(root(options), output).toContain(" - overlay ");
        expect(of(options).includes('"verb":"write","ok":true'), output).toBe(options !== "--read-only");
      }
      expect(of("layers"), output).toMatch(new RegExp(`^layers\n${LAYERS}\n`));
      expect(root("layers")).toContain(" - overlay ");
      for (let number = 2; number <= LAYERS; number++) expect(of("layers")).toContain(`./etc/layer${number}\n`);
      expect(of("start"), output).toContain("./etc/before\n");
      expect(of("start")).not.toContain("./etc/after");
      expect(of("start")).toContain('"verb":"cwd"');
      expect(of("left")).not.toContain("overlay");
    } finally {
      rmSync(job, { recursive: true, force: true });
    }
  },
  PATIENCE,
);
