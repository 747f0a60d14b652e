import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { requireDelegated, setUnitProperty, startScope } from "../../../src/exec/units.ts";

let directory = "";
const path = process.env["PATH"];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "units-"));
  process.env["PATH"] = `${directory}:${path}`;
});

afterEach(() => {
  process.env["PATH"] = path;
  rmSync(directory, { recursive: true });
});

/** What systemd's clients are instead. */
function clients(script: string): void {
  for (const name of ["systemctl", "busctl"]) {
    writeFileSync(join(directory, name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(directory, name), 0o755);
  }
}

const scope = { unit: "m.scope", slice: "machine.slice", path: "/nowhere/m.scope" };
const aborted = new AbortController().signal;

describe("systemd's clients", () => {
  test("that hang hold up nothing, and are given up when the launch is aborted", async () => {
    clients("exec sleep 1000");
    for (const asking of [
      (signal: AbortSignal) => setUnitProperty("m.scope", "TasksMax", "7", { aborted: signal }),
      (signal: AbortSignal) => requireDelegated("m.service", { aborted: signal }),
      (signal: AbortSignal) => startScope(scope, process.pid, "m", { aborted: signal }),
    ]) {
      const began = performance.now();
      await expect(asking(AbortSignal.timeout(200))).rejects.toThrow(/abort/);
      expect(performance.now() - began).toBeLessThan(5000);
    }
  });

  test("that have put a keeper elsewhere are not waited for when the launch is aborted", async () => {
    clients("exit 0");
    await expect(startScope(scope, process.pid, "m", { aborted: AbortSignal.timeout(200) })).rejects.toThrow(/abort/);
  });

  test("that refuse: what they said is told", async () => {
    clients("echo 'Failed: no such unit' >&2; exit 1");
    await expect(setUnitProperty("m.scope", "TasksMax", "7", { aborted })).rejects.toThrow(
      "systemd would not set TasksMax=7 of m.scope: Failed: no such unit",
    );
  });

  describe("that have a scope of that name", () => {
    /** It goes when it is stopped; or by itself, as soon as it is looked at. */
    function withScope(slice: string, goes = false): void {
      const shown = `echo LoadState=loaded; echo Slice=${slice}`;
      clients(`
echo "$(basename "$0") $1" >>${directory}/log
case $1 in
  show) ${goes ? `touch ${directory}/stopped; echo LoadState=not-found; echo Slice=` : shown} ;;
  stop) [ ! -e ${directory}/stopped ] || exit 5; touch ${directory}/stopped ;;
  call) [ -e ${directory}/stopped ] || { echo "Call failed: Unit m.scope was already loaded or has a fragment file." >&2; exit 1; } ;;
esac`);
    }
    const asked = (): readonly string[] => readFileSync(join(directory, "log"), "utf8").trim().split("\n");
    const keeper = process.pid;
    // Where this process is already, so that nobody waits for it to come.
    const at = (): string => `/nowhere${/^0::(.*)$/m.exec(readFileSync("/proc/self/cgroup", "utf8"))?.[1] ?? ""}`;

    test("with nothing in it any more: it is stopped first", async () => {
      withScope("machine.slice");
      await startScope({ ...scope, path: at() }, keeper, "m", { aborted });
      expect(asked()).toEqual(["busctl call", "systemctl show", "systemctl stop", "busctl call"]);
    });

    test("that goes by itself meanwhile: it is not missed", async () => {
      withScope("machine.slice", true);
      await startScope({ ...scope, path: at() }, keeper, "m", { aborted });
      expect(asked()).toEqual(["busctl call", "systemctl show", "systemctl stop", "busctl call"]);
    });

    test.each([
      ["in another slice", "-.slice", "/nowhere/machine.slice/m.scope"],
      ["with processes in it", "machine.slice", "m.scope"],
    ])("%s: it is left alone", async (_, slice, path) => {
      withScope(slice);
      const place = path.startsWith("/") ? path : join(directory, path);
      if (!path.startsWith("/")) mkdirSync(place);
      if (!path.startsWith("/")) writeFileSync(join(place, "cgroup.events"), "populated 1\nfrozen 0\n");
      await expect(startScope({ ...scope, path: place }, keeper, "m", { aborted })).rejects.toThrow(
        "was already loaded",
      );
      expect(asked()).toEqual(["busctl call", "systemctl show"]);
    });
  });

  test("that are not there", async () => {
    process.env["PATH"] = directory;
    await expect(requireDelegated("m.service", { aborted })).rejects.toThrow(
      /^systemd would not tell of m.service: .*ENOENT/,
    );
  });

  test("that answer", async () => {
    clients('[ "$5" = m.service ] && echo yes || echo no');
    await requireDelegated("m.service", { aborted });
    await expect(requireDelegated("other.service", { aborted })).rejects.toThrow(/has no cgroups of its own to give/);
  });
});
