import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { describe, expect, test } from "vitest";
import { manualPages } from "../../../src/cli/man.ts";
import { toRoff } from "../../../src/cli/man-roff.ts";
import { DETAILS } from "../../../src/cli/man-settings-text.ts";
import { VERBS } from "../../../src/cli/verbs.ts";
import { COMMAND_OPTIONS, optionName, SETTINGS } from "../../../src/config/settings.ts";
import { INSTALLATION } from "../../../src/host/installation.ts";
import { findProofs } from "../../lib/proofs.ts";
import { needsHere } from "../../lib/requires.ts";

/** UPDATE=1 writes the pages anew: read the difference, it is what users will read. */
const { version } = JSON.parse(readFileSync(join(INSTALLATION, "package.json"), "utf8")) as { version: string };
const pages = await manualPages(version, findProofs());
const berth = pages["berth.1"] ?? "";
const settings = pages["berth.nspawn.5"] ?? "";

describe.each(Object.entries(pages))("man/%s", (file, text) => {
  const path = join(INSTALLATION, "man", file);

  test("is current", () => {
    if (process.env["UPDATE"] === "1") writeFileSync(path, text);
    expect(existsSync(path) ? readFileSync(path, "utf8") : "", "UPDATE=1 makes it anew").toBe(text);
  });

  test("is plain: ASCII, no long lines, no mark left over", () => {
    const lines = text.split("\n");
    expect(lines.filter((line) => line.length > 200)).toEqual([]);
    expect(lines.filter((line) => /[^\x20-\x7e]/.test(line))).toEqual([]);
    // A star of *.conf, the underscores of BERTH_ROOT and the dots of a regular text are none.
    expect(lines.filter((line) => /(?<![\w/])[*_](?=[\w-])|(?<=\w)[*_](?!\w)|undefined/.test(line))).toEqual([]);
  });

  test("renders without a warning", (ctx) => {
    needsHere(ctx, "tool:man", "tool:groff");
    for (const MANWIDTH of ["60", "80", "200"]) {
      const env = { ...process.env, LC_ALL: "C.UTF-8", MANWIDTH, MANPAGER: "cat" };
      const { status, stdout, stderr } = spawnSync("man", ["--warnings=w", "-l", "-"], {
        input: text,
        encoding: "utf8",
        env,
      });
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      expect(stdout).toContain("SEE ALSO");
    }
  });
});

describe("berth(1)", () => {
  test.each(Object.keys(VERBS))("has %s, as its module tells it", async (verb) => {
    const program = new Command().enablePositionalOptions();
    (await VERBS[verb]?.load())?.define(program, () => async () => undefined);
    const [command] = program.commands;
    expect(command?.name()).toBe(verb);
    expect(command?.summary(), "berth help says the same").toBe(VERBS[verb]?.summary);
    expect(command?.description(), "a sentence").toMatch(/^[A-Z].+\.$/);
    expect(berth).toMatch(new RegExp(`^\\.SS ${verb}\\b`, "m"));
    for (const { long } of command?.options ?? []) expect(berth).toContain((long ?? "").replaceAll("-", "\\-"));
  });

  const inEffect = COMMAND_OPTIONS.filter((option) => option.settings.some(({ state }) => state === "in effect"));
  test.each(inEffect.map(({ form }) => optionName(form)))("describes %s", (name) => {
    expect(berth).toMatch(new RegExp(`^\\.TP\\n.*\\\\fB${name.replaceAll("-", "\\\\-")}\\\\fR`, "m"));
  });
});

describe("berth.nspawn(5)", () => {
  test.each(SETTINGS)("describes $section.$key in its section, as $state", ({ section, key, state }) => {
    const [, own = ""] = settings.split(`.SH [${section.toUpperCase()}] SECTION\n`);
    const [inEffect = "", notYet = ""] = (own.split("\n.SH ")[0] ?? "").split(".SS Not in effect yet\n");
    const term = new RegExp(`^\\.T[PQ]\n\\\\fB${key}=`, "m");
    expect([term.test(inEffect), term.test(notYet)]).toEqual([state === "in effect", state === "not yet"]);
  });

  test("tells details of settings that there are", () => {
    const keys = SETTINGS.map(({ key }) => key);
    expect(Object.keys(DETAILS).filter((key) => !keys.includes(key))).toEqual([]);
  });
});

describe("markup", () => {
  test.each([
    ["# NAME\n\nberth - x", ".SH NAME\nberth \\- x\n"],
    ["## list\n\n# A *b* c", ".SS list\n.SH A b c\n"],
    ["one\ntwo\n\nthree", ".PP\none two\n.PP\nthree\n"],
    ["*a*, *b*\n*c*\n: text\ngoes on", ".TP\n\\fBa\\fR, \\fBb\\fR\n.TQ\n\\fBc\\fR\ntext goes on\n"],
    ["    .x 'a'\n      -b", ".RS 4\n.EX\n\\&.x \\(aqa\\(aq\n  \\-b\n.EE\n.RE\n"],
    [".a", ".PP\n\\&.a\n"],
    ["`a-b` *--c-d* _E_=_F_.", ".PP\n\\fBa\\-b\\fR \\fB\\-\\-c\\-d\\fR \\fIE\\fR=\\fIF\\fR.\n"],
    ["*Boot=*_BOOL_", ".PP\n\\fBBoot=\\fR\\fIBOOL\\fR\n"],
    ["BERTH_ROOT and _BERTH_ROOT_, _d/*.conf_, a*b", ".PP\nBERTH_ROOT and \\fIBERTH_ROOT\\fR, \\fId/*.conf\\fR, a*b\n"],
    ["read-only, --dry-run, -x", ".PP\nread-only, \\-\\-dry\\-run, \\-x\n"],
    ["\\ ^] ~ \" ' `", ".PP\n\\e \\(ha] \\(ti \\(dq \\(aq \\(ga\n"],
    [`${"word ".repeat(30)}.end`, /^\.PP\n(word ){15}word\n(word ){13}word \.end\n$/],
    [`${"w ".repeat(40)}.end`, /\n\\&\.end\n$/],
  ])("%j", (markup, roff) => {
    if (typeof roff === "string") expect(toRoff(markup)).toBe(roff);
    else expect(toRoff(markup)).toMatch(roff);
  });
});
