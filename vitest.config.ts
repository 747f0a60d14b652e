import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { OWN_NAMESPACES, OWN_NAMESPACES_TITLE } from "./test/lib/own-tmpdir.ts";
import { Sequencer } from "./test/lib/sequencer.ts";

/**
 * Which tests run when, by file name:
 *
 *   test/unit/**\/*.test.ts           no root, no world but temporary files; parallel; seconds
 *   test/integration/**\/*.test.ts    root and a real kernel; three files at a time, each in namespaces of its own
 *   test/**\/?(*.)vm.test.ts          boots the virtual machine; beside them; left out with BERTH_VM=0
 *   test/**\/*.long.test.ts           endurance and scale; only with BERTH_LONG=1 (`npm run test:long`)
 *
 * One group after the other, so that a unit test never disturbs what an integration test sees of the host.
 * `npx vitest run --project unit` or a path runs a part of it. Types are checked by `npm run check`, not here.
 */
const VM_TESTS = "test/**/?(*.)vm.test.ts";
const LONG_TESTS = "test/**/*.long.test.ts";
const MINUTE = 60_000;
/** How long `expect.poll` asks: less than any test has, and much more than what is asked for should take. */
const POLL = { timeout: 15_000 };
/** One more than the cores of a small machine: a third of their time they wait, for disks and for what is to take its time. */
const WORKERS = 3;
const GUARD = fileURLToPath(new URL("test/lib/guard-kill.ts", import.meta.url));

/** A project whose files each have the host to themselves, or what looks like it (test/lib/own-namespaces). */
function alone(name: string, order: number, timeout: number, include: string[], exclude: string[]) {
  return {
    test: {
      name,
      include,
      exclude,
      pool: "forks" as const,
      maxWorkers: OWN_NAMESPACES ? WORKERS : 1,
      ...(OWN_NAMESPACES ? { execArgv: [OWN_NAMESPACES_TITLE] } : {}),
      setupFiles: [GUARD],
      globalSetup: [fileURLToPath(new URL("test/lib/own-tmpdir.ts", import.meta.url))],
      expect: { poll: POLL },
      testTimeout: timeout,
      hookTimeout: 2 * timeout,
      // A shared machine may stand still for seconds at any moment. The reporter lists what passed only then.
      retry: 1,
      sequence: { groupOrder: order },
    },
  };
}

export default defineConfig({
  test: {
    sequence: { sequencer: Sequencer },
    reporters: ["default", fileURLToPath(new URL("test/lib/reporter.ts", import.meta.url))],
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts"],
          setupFiles: [GUARD],
          exclude: [VM_TESTS, LONG_TESTS],
          pool: "forks",
          maxWorkers: 2,
          expect: { poll: POLL },
          // Not a promise about speed: two shared cores may be busy with something else.
          testTimeout: 20_000,
          sequence: { groupOrder: 0 },
        },
      },
      alone("integration", 1, 3 * MINUTE, ["test/integration/**/*.test.ts"], [VM_TESTS, LONG_TESTS]),
      ...(process.env["BERTH_VM"] === "0" ? [] : [alone("vm", 1, 10 * MINUTE, [VM_TESTS], [LONG_TESTS])]),
      ...(process.env["BERTH_LONG"] === "1" ? [alone("long", 2, 30 * MINUTE, [LONG_TESTS], [])] : []),
    ],
  },
});
