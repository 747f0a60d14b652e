/**
 * The same settings file to systemd-nspawn and to berth: what comes of it inside is the same. Files
 * that berth refuses, where nspawn warns and goes on, are told apart by `berth`.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseUnitFile } from "../../src/config/unit-file.ts";
import { buildSpec } from "../../src/spec/build-spec.ts";
import { capabilityNumber } from "../../src/spec/capabilities.ts";
import { showProblem } from "../../src/spec/problem.ts";
import { berthRoot } from "../lib/berth.ts";
import { NSPAWN_MACHINE, runNspawn } from "../lib/nspawn.ts";
import { generator } from "../lib/random.ts";
import { setUpProbe } from "../lib/set-up.ts";

const { tree } = setUpProbe({}, "systemd-nspawn", "tool:unshare");

/** nspawn takes Parameters= only with a Boot= or ProcessTwo=. What a case adds to Parameters= are further words of ls. */
const QUESTIONS = "/probe cat /proc/self/cmdline -- hostname -- cat /proc/self/environ -- ids -- ls /mnt";
const HEADER = `[Exec]\nBoot=no\nPrivateUsers=no\nParameters=${QUESTIONS}\n[Network]\nPrivate=yes\n`;

/** What a file sets is all that is compared: both managers add variables of their own. */
interface Seen {
  readonly words: readonly string[];
  readonly variables: Readonly<Record<string, string>>;
  readonly hostname: string;
  readonly bounding: string;
  readonly mnt: readonly string[];
}

const MARK = /^(?:[A-Z]|LONG|[a-z_]\w*)$/;
const OTHERS = /^(?:container|container_\w+)$/;

function seen(stdout: string): Seen {
  const [words = "", hostname = "", environment = "", ids = "", mnt = ""] = stdout.split(/(?=\{"verb":)|(?<=\}\n)/);
  const variables = environment
    .split("\0")
    .filter(Boolean)
    .map((each) => [each.slice(0, each.indexOf("=")), each.slice(each.indexOf("=") + 1)] as const);
  return {
    words: words.split("\0").slice(QUESTIONS.split(" ").length, -1),
    variables: Object.fromEntries(variables.filter(([name]) => MARK.test(name) && !OTHERS.test(name)).sort()),
    hostname: (JSON.parse(hostname) as { hostname: string }).hostname,
    bounding: (JSON.parse(ids) as { bounding: string }).bounding,
    mnt: ((JSON.parse(mnt) as { names?: string[] }).names ?? []).toSorted(),
  };
}

interface Case {
  readonly text: string | Buffer;
  /** Stands before everything else: Parameters= can't be seen there. */
  readonly first?: true;
  /** What berth refuses, and nspawn passes over; or that both refuse. */
  readonly berth?: RegExp;
}

/** `@` in a text stands for a directory of the host. */
const CASES: Readonly<Record<string, Case>> = {
  "words of Parameters=": { text: "[Exec]\nParameters=a  b\t\tc\nParameters=d" },
  "quotes around and inside words": { text: `[Exec]\nParameters="a b" 'c d' e"f g"h i'j'k "" '' l` },
  "quotes in quotes": { text: `[Exec]\nParameters="it's" '"x"' "a'b'c"` },
  "backslashes in words": { text: `[Exec]\nParameters=${String.raw`a\tb \x41 "c\nd" 'e\\f' \\ g\ h`}` },
  "a quote that is not closed": { text: `[Exec]\nParameters=a "b c\nEnvironment=A=1`, berth: /quote " is not closed/ },
  "Environment=, several a line": { text: `[Exec]\nEnvironment=A=1 "B=two words" 'C=x' D="y z" E=\nEnvironment=F==` },
  "a variable set twice": { text: "[Exec]\nEnvironment=A=1\nEnvironment=A=2 B=1 B=2" },
  "a variable that is none": { text: "[Exec]\nEnvironment=A=1 2B=x C", berth: /environment variable/ },
  "repeated keys": { text: "[Exec]\nHostname=one\nHostname=two\nEnvironment=A=1\nEnvironment=B=2" },
  "an empty value takes back": {
    text: "[Exec]\nEnvironment=A=1\nEnvironment=\nEnvironment=B=2\nHostname=x\nHostname=",
  },
  "an empty value of white space takes back": { text: "[Exec]\nEnvironment=A=1\nEnvironment=  \t\nEnvironment=B=2" },
  "percent signs are no specifiers": { text: "[Exec]\nEnvironment=A=%i B=%% C=%H%n D=100%\nParameters=%m %%" },
  "dollar signs are no variables": { text: "[Exec]\nEnvironment=A=$HOME B=$(PATH)\nParameters=$A" },
  "white space around key, value and line": {
    text: "[Exec]\n  Environment = A=1 \t\n\tHostname\t=\thost  \n Parameters =  a ",
  },
  "a section again": { text: "[Exec]\nEnvironment=A=1\n[Files]\n[Exec]\nEnvironment=B=2" },
  "white space around a section": { text: "[Files]\n \t[Exec] \t\nEnvironment=A=1" },
  "continued lines": { text: "[Exec]\nEnvironment=A=1 \\\n  B=2\\\n C=3\nParameters=a\\\nb \\\n\nHostname=h" },
  "comments inside a continued line": { text: "[Exec]\nEnvironment=A=1 \\\n# no\n  ; no \\\n B=2 \\\n#\nHostname=c" },
  "a comment that ends in a backslash": {
    text: "[Exec]\n# not continued \\\nEnvironment=A=1\n; nor this \\\nEnvironment=B=2",
  },
  "a comment sign inside a value": {
    text: "[Exec]\nEnvironment=A=1#x B=2 ;C=3\nParameters=a # b ; c",
    berth: /variable name ";C"/,
  },
  "a backslash at the end of the file": { text: "[Exec]\nEnvironment=A=1 \\" },
  "two backslashes at the end of a line": { text: "[Exec]\nParameters=a \\\\\nEnvironment=A=1\\\\\nEnvironment=B=2" },
  "continued within quotes": { text: '[Exec]\nEnvironment="A=one \\\n  two" B=2' },
  CRLF: { text: "[Exec]\r\nEnvironment=A=1\r\nHostname=crlf\r\nParameters=a \\\r\n b\r\n" },
  "CR and LFCR": { text: "[Exec]\rEnvironment=A=1\n\rHostname=cr\n\n\r\rEnvironment=B=2" },
  "no line end at the end": { text: "[Exec]\nEnvironment=A=1" },
  "a byte order mark": { text: "\uFEFF[Exec]\nEnvironment=A=1\n", first: true },
  "a byte order mark before a comment": { text: "\uFEFF# comment\n[Exec]\nEnvironment=A=1\n", first: true },
  "assignments before a section": { text: "Environment=A=1\n[Exec]\nEnvironment=B=2\n", first: true },
  "a line without =": { text: "[Exec]\nEnvironment\nEnvironment=A=1\nnonsense here" },
  "a line without key": { text: "[Exec]\n=x\nEnvironment=A=1" },
  "unknown keys and sections": {
    text: "[Exec]\nEnviroment=A=1\nenvironment=B=1\n[exec]\nEnvironment=C=1\n[Other]\nA=b\n[Exec]\nEnvironment=D=1",
  },
  "X- keys and sections": { text: "[X-Mine]\nEnvironment=A=1\nanything\n[Exec]\nX-Key=1\nEnvironment=B=1" },
  "a header that is not closed": { text: "[Exec\nEnvironment=A=1", berth: /does not end with "\]"/ },
  "a header with text after it": { text: "[Exec] # x\nEnvironment=A=1", berth: /does not end with "\]"/ },
  "UTF-8": { text: "[Exec]\nEnvironment=A=ä€𝄞\nParameters=ü" },
  "bytes that are not UTF-8": {
    text: Buffer.from("[Exec]\nEnvironment=A=\xff\nEnvironment=B=2", "latin1"),
    berth: /not valid UTF-8/,
  },
  "a NUL byte": { text: "[Exec]\nEnvironment=A=1\0Environment=B=2\nEnvironment=C=\0\nHostname=nul" },
  "control characters": { text: "[Exec]\nEnvironment=A=\x01b\x7f C=\vd\fe" },
  "a long line": { text: `[Exec]\nEnvironment=LONG=${"x".repeat(60_000)} A=1` },
  "capabilities by name, number and case": {
    text: "[Exec]\nDropCapability=CAP_KILL CAP_MKNOD\nDropCapability=cap_chown 18\nCapability=CAP_SYS_TIME",
  },
  "a bind with a colon in its path": { text: "[Files]\nBindReadOnly=@/a\\:b:/mnt" },
  "a bind with white space and quotes in its path": { text: `[Files]\nBindReadOnly=@/c d"e:/mnt` },
  "a bind with a backslash in its path": { text: "[Files]\nBindReadOnly=@/f\\\\g:/mnt:norbind" },
  "binds one over the other": { text: '[Files]\nBindReadOnly=@/a\\:b:/mnt\nBind=@/c d"e:/mnt' },
  "a host name that is none": { text: "[Exec]\nHostname=-bad-\nEnvironment=A=1", berth: /host name "-bad-"/ },
};

function contents({ text, first }: Case, host: string): Buffer {
  const own = Buffer.isBuffer(text) ? text : Buffer.from(text.replaceAll("@", host));
  return Buffer.concat(first ? [own, Buffer.from(HEADER)] : [Buffer.from(HEADER), own]);
}

describe("a settings file means the same to systemd-nspawn and to berth", () => {
  test("case by case, as seen from inside", async () => {
    await using root = berthRoot();
    const host = root.directory("host");
    for (const name of ["a:b", 'c d"e', "f\\g"]) {
      mkdirSync(join(host, name));
      writeFileSync(join(host, name, `in ${name}`), "");
    }
    const cases = Object.entries(CASES);
    const theirs = await runNspawn(
      join(root.path, "nspawn"),
      tree,
      cases.map(([, each]) => contents(each, host)),
    );
    for (const [index, [name, each]] of cases.entries()) {
      writeFileSync(join(root.etc, "machines", `${NSPAWN_MACHINE}.nspawn`), contents(each, host));
      const ours = await root.berth("run", "-D", tree, "-x", "-M", NSPAWN_MACHINE, "--resolv-conf=off", "--pipe");
      const their = theirs[index];
      if (each.berth !== undefined) expect.soft([name, ours.stderr]).toEqual([name, expect.stringMatching(each.berth)]);
      else {
        expect.soft({ name, ...seen(ours.stdout) }, ours.stderr).toEqual({ name, ...seen(their?.stdout ?? "") });
        expect.soft([name, ours.status]).toEqual([name, their?.status]);
      }
    }
  });
});

test("an empty assignment takes back any list in berth, of nspawn's only Parameters= and Environment=", async () => {
  await using root = berthRoot();
  const text = `${HEADER}[Exec]\nDropCapability=CAP_KILL\nDropCapability=\nDropCapability=CAP_MKNOD\n`;
  const [theirs] = await runNspawn(join(root.path, "nspawn"), tree, [text]);
  root.settings(NSPAWN_MACHINE, text);
  const ours = await root.berth("run", "-D", tree, "-x", "-M", NSPAWN_MACHINE, "--resolv-conf=off", "--pipe");
  const has = (stdout: string, name: string): boolean => {
    const bit = BigInt(capabilityNumber(name) ?? -1);
    return ((BigInt(`0x${seen(stdout).bounding}`) >> bit) & 1n) === 1n;
  };
  expect([has(ours.stdout, "CAP_KILL"), has(theirs?.stdout ?? "", "CAP_KILL")]).toEqual([true, false]);
  for (const stdout of [ours.stdout, theirs?.stdout ?? ""]) expect(has(stdout, "CAP_MKNOD")).toBe(false);
});

/** Texts that matter to the syntax, with some that do not. */
const PIECES = [
  "a",
  "B",
  " ",
  "  ",
  "\t",
  "'",
  '"',
  "\\",
  "\\\n",
  "\\\n# c\n",
  "\\\n;c\\\n",
  "=",
  "#",
  ";",
  "%",
  "%%",
  "\\x41",
  "\r\n",
  "é",
];
const KEYS = [
  "Environment=A=",
  "Environment=",
  "Parameters=",
  "Hostname=h",
  "No Such=",
  "[Exec]",
  "#",
  " Environment = B=",
];

function randomText(below: (limit: number) => number): string {
  const pick = (list: readonly string[]): string => list[below(list.length)] ?? "";
  const line = (): string => `${pick(KEYS)}${Array.from({ length: below(5) }, () => pick(PIECES)).join("")}\n`;
  const text = `[Exec]\n${Array.from({ length: 1 + below(6) }, line).join("")}`;
  // Taking back Parameters= would take the questions away.
  return text.replace(/Parameters[ \t]*=(?=[\s\\]*\n)/g, "Parameters=z");
}

test("random settings files mean the same to both", async () => {
  await using root = berthRoot();
  const seed = Number(process.env["SEED"] ?? 1);
  const texts = Array.from({ length: 120 }, (_, index) => HEADER + randomText(generator(seed * 1000 + index)));
  const read = texts.map((text) => {
    const { assignments, problems } = parseUnitFile(text, "f");
    const base = { name: NSPAWN_MACHINE, root: { value: "/m", source: { from: "default" as const } } };
    return buildSpec({ ...base, assignments, problems, options: [], command: [] });
  });
  const theirs = await runNspawn(join(root.path, "nspawn"), tree, texts);
  let compared = 0;
  for (const [index, text] of texts.entries()) {
    const their = theirs[index];
    const { spec, problems } = read[index] ?? { spec: undefined, problems: [] };
    // berth refuses what it can't read; where nspawn does not start, berth may not either.
    if (spec === undefined || their === undefined) continue;
    const questions = QUESTIONS.split(" ");
    if (spec.command.value.slice(0, questions.length).join(" ") !== QUESTIONS) continue;
    compared++;
    const variables = spec.environment.map(({ value }) => [value.name, value.value] as const);
    expect.soft({ text, ...seen(their.stdout) }, problems.map(showProblem).join("\n")).toMatchObject({
      text,
      words: spec.command.value.slice(questions.length),
      variables: Object.fromEntries(variables.filter(([name]) => MARK.test(name)).sort()),
      hostname: spec.hostname.value,
    });
  }
  expect(compared).toBeGreaterThan(30);
});
