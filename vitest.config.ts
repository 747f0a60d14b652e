import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";
import { OWN_NAMESPACES, OWN_NAMESPACES_TITLE } from "./test/lib/own-tmpdir.ts";

/**
 * Which tests run when, by file name:
 *
 *   test/unit/**\/*.test.ts           no root, no world but temporary files; parallel; seconds
 *   test/integration/**\/*.test.ts    root and a real kernel; two files at a time, each in namespaces of its own
 *   test/**\/?(*.)vm.test.ts          boots the virtual machine; beside them; left out with BERTH_VM=0
 *   test/**\/*.long.test.ts           endurance and scale; only with BERTH_LONG=1 (`npm run test:long`)
 *
 * One group after the other, so that a unit test never disturbs what an integration test sees of the host.
 * `npx vitest run --project unit` or a path runs a part of it. Types are checked by `npm run check`, not here.
 */
const VM_TESTS = "test/**/?(*.)vm.test.ts";
const LONG_TESTS = "test/**/*.long.test.ts";
const MINUTE = 60_000;
const GUARD = fileURLToPath(new URL("test/lib/guard-kill.ts", import.meta.url));

/** A project whose files each have the host to themselves, or what looks like it (test/lib/own-namespaces). */
function alone(name: string, order: number, timeout: number, include: string[], exclude: string[]) {
  return {
    test: {
      name,
      include,
      exclude,
      pool: "forks" as const,
      maxWorkers: OWN_NAMESPACES ? 2 : 1,
      ...(OWN_NAMESPACES ? { execArgv: [OWN_NAMESPACES_TITLE] } : {}),
      setupFiles: [GUARD],
      globalSetup: [fileURLToPath(new URL("test/lib/own-tmpdir.ts", import.meta.url))],
      testTimeout: timeout,
      hookTimeout: 2 * timeout,
      sequence: { groupOrder: order },
    },
  };
}

/** One guest runs at a time: the virtual machine's files, the longest first, are spread over the others of their group. */
class SpreadGuests extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const of = (name: string): TestSpecification[] => sorted.filter(({ project }) => project.name === name);
    const [guests, others] = [of("vm"), of("integration")];
    const step = Math.ceil(others.length / Math.max(1, guests.length));
    guests.forEach((guest, index) => void others.splice(index * (step + 1), 0, guest));
    return [...sorted.filter((file) => !others.includes(file)), ...others];
  }
}

export default defineConfig({
  test: {
    sequence: { sequencer: SpreadGuests },
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
          // Not a promise about speed: two shared cores may be busy with something else.
          testTimeout: 20_000,
          sequence: { groupOrder: 0 },
        },
      },
      alone("integration", 1, MINUTE, ["test/integration/**/*.test.ts"], [VM_TESTS, LONG_TESTS]),
      ...(process.env["BERTH_VM"] === "0" ? [] : [alone("vm", 1, 10 * MINUTE, [VM_TESTS], [LONG_TESTS])]),
      ...(process.env["BERTH_LONG"] === "1" ? [alone("long", 2, 30 * MINUTE, [LONG_TESTS], [])] : []),
    ],
  },
});
