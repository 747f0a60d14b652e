import { expect, test } from "vitest";
import { mmdebstrapFailure } from "../../../src/bootstrap/mmdebstrap-failure.ts";
import { followMmdebstrap } from "../../../src/bootstrap/mmdebstrap-output.ts";
import type { ProgressEvent } from "../../../src/bootstrap/stage.ts";

/** As mmdebstrap 1.3.5 --verbose writes it, most packages left out. */
const OUTPUT = `I: chroot architecture amd64 is equal to the host's architecture
I: running --setup-hook directly: /usr/share/mmdebstrap/hooks/maybe-merged-usr/setup00.sh /mnt
Get:1 http://m.example/debian bookworm InRelease [151 kB]
Unpacking usr-is-merged (1) ...
Setting up usr-is-merged (1) ...
I: skipping apt-get update because it was already run
I: downloading packages with apt...
0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.
Get:1 http://m.example/debian bookworm/main amd64 gcc-12-base amd64 12.2.0-14+deb12u1 [37.6 kB]
Get:2 http://m.example/debian bookworm/main amd64 libc6 amd64 2.36-9+deb12u14 [2759 kB]
I: extracting archives...
I: installing essential packages...
(Reading database ... 5%
Unpacking gcc-12-base:amd64 (12.2.0-14+deb12u1) ...
Unpacking libc6:amd64 (2.36-9+deb12u14) ...
Setting up gcc-12-base:amd64 (12.2.0-14+deb12u1) ...
Setting up libc6:amd64 (2.36-9+deb12u14) ...
1 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.
Setting up usr-is-merged (37~deb12u1) ...
I: installing remaining packages inside the chroot...
0 upgraded, 1 newly installed, 0 to remove and 0 not upgraded.
Get:1 http://m.example/debian bookworm/main amd64 libstdc++6 amd64 12 [600 kB]
Unpacking libstdc++6:amd64 (12) ...
Setting up libstdc++6:amd64 (12) ...
I: cleaning package lists and apt cache...
I: success in 10 seconds
I: copying the tree`.split("\n");

function follow(lines: readonly string[]): ProgressEvent[] {
  const events: ProgressEvent[] = [];
  const line = followMmdebstrap((event) => events.push(event));
  for (const text of lines) line(text);
  return events;
}

test("stages come in order, packages are counted, the bar never falls", () => {
  const events = follow(OUTPUT);
  expect([...new Set(events.map((event) => event.stage))]).toEqual([
    "index",
    "download",
    "extract",
    "essential",
    "install",
    "clean",
    "unload",
  ]);
  const last = (stage: string) => events.findLast((event) => event.stage === stage);
  expect(last("download")).toMatchObject({ done: 2, total: 2, item: "downloading libc6" });
  expect(last("essential"), "the extra package of a hook does not count past the total").toMatchObject({
    done: 2,
    total: 2,
  });
  expect(last("install")).toMatchObject({ done: 1, total: 1, item: "setting up libstdc++6" });
  const fractions = events.map((event) => event.fraction);
  expect(fractions).toEqual([...fractions].sort((a, b) => a - b));
  expect(Math.max(...fractions)).toBeLessThan(1);
});

test("output in other words only makes the progress poorer", () => {
  const words = OUTPUT.map((line) => line.replace(/newly installed|Unpacking|Setting up|Get:/, "..."));
  expect(() => follow(words)).not.toThrow();
  expect(follow(words).at(-1)?.stage).toBe("unload");
});

test.each([
  [
    "no network",
    "Err:1 http://m.example/debian x InRelease\n  Temporary failure resolving 'm.example'",
    "cannot be reached",
  ],
  ["a full disk", "dpkg: error processing archive x.deb: No space left on device", "is full"],
  [
    "an unknown key",
    "W: GPG error: The following signatures couldn't be verified: NO_PUBKEY 123",
    "debian-archive-keyring",
  ],
  [
    "a wrong suite",
    "E: The repository 'http://m.example/debian nope Release' does not have a Release file.",
    "does not carry",
  ],
  ["an old mirror", "E: Release file for http://m.example is expired (invalid since 18d)", "out of date"],
  ["a missing package", "E: Unable to locate package nope", "is not (any more) in that release"],
])("%s gets a hint", (_, output, hint) => {
  const error = mmdebstrapFailure("bootstrap of debian/x", "ended with status 25", output.split("\n"));
  expect(error.hint).toContain(hint);
  expect(error.message).toContain("bootstrap of debian/x failed (mmdebstrap ended with status 25)");
});

test("a failure names the first error and shows the end of the output, without dpkg's counter", () => {
  const noise = Array.from({ length: 30 }, (_, step) => `(Reading database ... ${step}%`);
  const error = mmdebstrapFailure("it", "ended with status 1", ["fine", "E: the cause", "E: a consequence", ...noise]);
  expect(error.message.split("\n")[0]).toBe("it failed (mmdebstrap ended with status 1): the cause");
  expect(error.message).toContain("\n  E: a consequence");
  expect(error.message).not.toContain("Reading database");
  expect(error.hint).toBeUndefined();
});

test("what fails nothing, and errors beside the known cause, are not said to be it", () => {
  const error = mmdebstrapFailure("it", "ended with status 25", [
    "E: Can not write log (Is /dev/pts mounted?) - posix_openpt (2: No such file or directory)",
    "E: setup failed",
    "E: Unable to locate package nosuchpkg",
    "(Reading database ... 5%",
  ]);
  expect(error.message).toBe(
    "it failed (mmdebstrap ended with status 25): Unable to locate package nosuchpkg\n  E: setup failed\n  E: Unable to locate package nosuchpkg",
  );
});
