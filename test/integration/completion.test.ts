/** `berth completion`: the scripts, as the shells run them, and what berth answers to them. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { BERTH, type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { probeTree } from "../lib/probe.ts";
import { openTerminal } from "../lib/pty.ts";
import { needs, needsHere } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

/** Words at the end of `line`, as bash would offer them for the last one, which it cuts at = and @. */
function inBash(root: BerthRoot, line: string): string[] {
  const script = `
    eval "$(berth completion bash)"
    COMP_LINE=$1 COMP_POINT=\${#1} COMP_TYPE=9
    _berth
    printf '%s\\n' "\${COMPREPLY[@]}"`;
  const env = { ...process.env, ...root.env, PATH: `${join(BERTH, "..")}:${process.env["PATH"]}` };
  const { stdout, stderr } = spawnSync("bash", ["--norc", "-c", script, "bash", line], {
    encoding: "utf8",
    env,
    cwd: root.path,
  });
  expect(stderr).toBe("");
  return stdout.split("\n").filter(Boolean).sort();
}

function ask(root: BerthRoot, ...words: string[]): string[] {
  const answer = execFileSync(BERTH, ["complete", "--", ...words], {
    encoding: "utf8",
    env: { ...process.env, ...root.env },
  });
  return answer.split("\n").slice(0, -1);
}

test("snapshots are completed where one is wanted, and behind the name of an image", async () => {
  await using root = berthRoot();
  mkdirSync(join(root.machines, "web"));
  for (const name of ["first", "second"]) expect((await root.berth("snapshot", "web", name)).status).toBe(0);
  const words = (...line: string[]): string[] =>
    ask(root, ...line)
      .slice(1)
      .map((each) => each.split("\t")[0] ?? "");
  expect(words("rollback", "web", "")).toEqual(["first", "second"]);
  expect(words("diff", "web", "first", "s")).toEqual(["second"]);
  expect(words("clone", "web@f")).toEqual(["web@first"]);
  expect(words("rollback", "nix", "")).toEqual([]);
  expect(words("rollback", "../web", "")).toEqual([]);
});

async function makeMachines(root: BerthRoot): Promise<void> {
  const tree = await probeTree({ at: join(root.machines, "web") });
  for (const name of ["bin", "lib", "lib64"]) symlinkSync(`usr/${name}`, join(tree, name));
  root.settings("web", "[Files]\nBindReadOnly=/usr");
  writeFileSync(join(tree, "sbin/init"), "#!/bin/sh\nexec sleep 100000\n", { mode: 0o755 });
  mkdirSync(join(root.machines, "worker"));
  mkdirSync(join(root.machines, ".hidden"));
  writeFileSync(join(root.machines, "disk.raw"), "");
  expect((await root.berth("start", "web")).status).toBe(0);
}

test("bash completes verbs, machines by what the verb is for, options, their values, and files", async (ctx) => {
  needsHere(ctx, "tool:bash");
  await using root = berthRoot();
  await makeMachines(root);
  expect(inBash(root, "berth termi")).toEqual(["terminate"]);
  expect(inBash(root, "berth help re")).toContain("reboot");
  for (const _ of ["with the daemon", "without"]) {
    expect(inBash(root, "berth start ")).toEqual(["disk", "worker"]);
    expect(inBash(root, "berth poweroff w")).toEqual(["web"]);
    expect(inBash(root, "berth exec ")).toEqual(["web"]);
    expect(inBash(root, "berth status w")).toEqual(["web", "worker"]);
    await root.berth("daemon", "stop");
  }
  // It was not started again for that.
  expect(existsSync(join(root.path, "run/berthd.sock"))).toBe(false);
  expect(inBash(root, "berth clone ")).toEqual(["disk", "web", "worker"]);
  expect(inBash(root, "berth shell bob@w")).toEqual(["web"]);
  expect(inBash(root, "berth list --js")).toEqual(["--json"]);
  expect(inBash(root, "berth run --console=re")).toEqual(["read-only"]);
  expect(inBash(root, "berth run --console ")).toContain("interactive");
  expect(inBash(root, "berth run -M web --private-users=i")).toEqual(["identity"]);
  expect(inBash(root, "berth set-property web Mem")).toEqual(
    ["MemoryHigh=", "MemoryLow=", "MemoryMax=", "MemoryMin=", "MemorySwapMax="].sort(),
  );
  expect(inBash(root, "berth wait web st")).toEqual(["stopped"]);
  expect(inBash(root, "berth wait web p")).toEqual(["paused"]);
  expect(inBash(root, "berth kill --signal SIGTE web")).toEqual(["web"]);
  expect(inBash(root, "berth kill --signal SIGTE")).toEqual(["SIGTERM"]);
  expect(inBash(root, "berth daemon st")).toEqual(["start", "status", "stop"]);
  expect(inBash(root, "berth bootstrap deb")).toEqual(["debian"]);
  expect(inBash(root, "berth check w")).toEqual(["web"]);
  expect(inBash(root, "berth bind web mach")).toEqual(["machines"]);
  expect(inBash(root, "berth run -D mach")).toEqual(["machines"]);
  expect(inBash(root, `berth --root=${root.path} poweroff w`)).toEqual(["web"]);
  expect(inBash(root, "berth --root /nonexistent poweroff w")).toEqual([]);
  expect(inBash(root, "berth exec web -- sh")).toContain("sh");
  expect(inBash(root, "berth nonsense ")).toEqual([]);
  expect((await root.berth("terminate", "web")).status).toBe(0);
});

/** The first words of what fish would offer. */
function inFish(root: BerthRoot, line: string): string[] {
  const script = "berth completion fish | source; complete -C $argv[1]";
  const { stdout, stderr } = spawnSync("fish", ["--private", "--no-config", "-c", script, "--", line], {
    encoding: "utf8",
    env: { ...process.env, ...root.env, HOME: root.path, PATH: `${join(BERTH, "..")}:${process.env["PATH"]}` },
    cwd: root.path,
  });
  expect(stderr).toBe("");
  return stdout
    .split("\n")
    .flatMap((each) => each.split("\t")[0] || [])
    .sort();
}

test("fish completes verbs, machines that run just then, options, their values, and files", async (ctx) => {
  needsHere(ctx, "tool:fish");
  await using root = berthRoot();
  await makeMachines(root);
  expect(inFish(root, "berth termi")).toEqual(["terminate"]);
  expect(inFish(root, "berth start ")).toEqual(["disk", "worker"]);
  expect(inFish(root, "berth exec ")).toEqual(["web"]);
  expect(inFish(root, "berth shell bob@w")).toEqual(["bob@web"]);
  expect(inFish(root, "berth run --console=re")).toEqual(["--console=read-only"]);
  expect(inFish(root, "berth kill --signal SIGTE")).toEqual(["SIGTERM"]);
  expect(inFish(root, "berth run -D mach")).toEqual(["machines/"]);
  expect(inFish(root, "berth bind web mach")).toEqual(["machines/"]);
  expect((await root.berth("terminate", "web")).status).toBe(0);
  expect(inFish(root, "berth exec ")).toEqual([]);
});

test("zsh completes verbs, machines that run just then, options, their values, and files", async (ctx) => {
  needsHere(ctx, "tool:zsh");
  await using root = berthRoot();
  await makeMachines(root);
  await using terminal = openTerminal({ rows: 50, columns: 200 });
  const PATH = `${join(BERTH, "..")}:${process.env["PATH"]}`;
  terminal.spawn(["env", "-C", root.path, "zsh", "-f", "-i"], { ...root.env, PATH, HOME: root.path });
  // EDITOR=vi, as npm has it, would give it other keys.
  terminal.type("bindkey -e; PS1='line %h> '; unset zle_bracketed_paste; autoload -U compinit; compinit -u -D\n");
  terminal.type('eval "$(berth completion zsh)"\n');
  let lines = 2;
  /** What the line becomes by the tabulator, as an argument of print: what else the terminal shows is its own business. */
  const completed = async (line: string): Promise<string> => {
    // What is typed before the line editor is there is no key to it.
    await terminal.until(new RegExp(`line ${++lines}> `));
    terminal.type(`${line}\t\x01print -r -- ${lines}: '\x05'\n`);
    const shown = new RegExp(`\\n${lines}: (.*?)\\r?\\n`);
    await terminal.until(shown);
    return shown.exec(terminal.output)?.[1] ?? "";
  };
  expect(await completed("berth termi")).toBe("berth terminate");
  expect(await completed("berth exec ")).toBe("berth exec web");
  expect(await completed("berth start w")).toBe("berth start worker");
  expect(await completed("berth shell bob@w")).toBe("berth shell bob@web");
  expect(await completed("berth run --console=re")).toBe("berth run --console=read-only");
  expect(await completed("berth kill --signal SIGTE")).toBe("berth kill --signal SIGTERM");
  expect(await completed("berth run -D mach")).toBe("berth run -D machines");
  expect(await completed("berth bind web mach")).toBe("berth bind web machines");
  expect((await root.berth("terminate", "web")).status).toBe(0);
  expect(await completed("berth exec w")).toBe("berth exec w");
  terminal.type("exit\n");
});

describe("berth answers", () => {
  test("with what each word means, and what the shell knows itself", async () => {
    await using root = berthRoot();
    expect(ask(root, "stat")).toEqual(["-", "status\tshow one machine"]);
    expect(ask(root, "start", "--ti")).toEqual(["-", expect.stringMatching(/^--timeout\thow long/)]);
    expect(ask(root, "run", "-D", "")).toEqual(["directories"]);
    expect(ask(root, "import-fs", "")).toEqual(["directories"]);
    expect(ask(root, "exec", "web", "")).toEqual(["commands"]);
    expect(ask(root, "exec", "web", "--", "ls", "-")).toEqual(["files"]);
    expect(ask(root, "exec", "web", "ls", "-")).toEqual(["files"]);
    expect(ask(root, "exec", "web", "--us")).toEqual(["-", expect.stringMatching(/^--user\t/)]);
    expect(ask(root, "exec", "web", "-t", "-u", "root", "")).toEqual(["commands"]);
    expect(ask(root, "shell", "web", "--us")).toEqual(["commands"]);
    // Options that change nothing are not offered.
    expect(ask(root, "list", "--no-")).toEqual(["-", expect.stringMatching(/^--no-legend\t/)]);
    expect(ask(root, "start", "--timeout", "")).toEqual(["-"]);
    expect(ask(root, "")[0]).toBe("-");
  });

  test("behind options that stand before the verb", async () => {
    await using root = berthRoot();
    mkdirSync(join(root.machines, "web"));
    expect(ask(root, "-q", "term")).toEqual(["-", expect.stringMatching(/^terminate\t/)]);
    expect(ask(root, "--no-pager", "list", "--max")).toEqual(["-", expect.stringMatching(/^--max-addresses\t/)]);
    expect(ask(root, "--root", root.path, "-n", "5", "status", "w")).toEqual(["-", "web\t"]);
    expect(ask(root, "-n", "5", "--root", root.path, "status", "w")).toEqual(["-", "web\t"]);
  });

  test("where nothing is there yet, and makes nothing", async () => {
    await using root = berthRoot();
    for (const verb of ["start", "status", "poweroff", "cat", "clone"]) ask(root, verb, "");
    expect(existsSync(join(root.path, "run"))).toBe(false);
  });
});

test("there is none for other shells", async () => {
  await using root = berthRoot();
  expect(await root.berth("completion", "csh")).toMatchObject({
    status: 2,
    stderr: "berth: csh: there is no script for that shell\nhint: bash, zsh and fish have one\n",
  });
});
