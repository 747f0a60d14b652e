import { expect, test } from "vitest";
import { buildPlan } from "../../../src/plan/build.ts";
import { diffPlans } from "../../../src/plan/diff.ts";
import { type LiveDifferences, type SettingsBind, takeApart } from "../../../src/plan/live-differences.ts";
import { DEFAULT } from "../../../src/spec/source.ts";
import { inputOf } from "../../golden/inputs.ts";

/** From one settings file to another; every bind of the latter is plain but for those of `odd`. */
function apart(before: string, after: string, odd: readonly string[] = []): LiveDifferences {
  const [old, now] = [inputOf("web", before, {}), inputOf("web", after, {})];
  const [plan, next] = [buildPlan(old), buildPlan(now)];
  const wanted = now.spec.binds.map(
    ({ value }): SettingsBind => ({
      ...{ source: value.source, target: value.target, readOnly: value.readOnly, owners: value.idmap },
      plain: !odd.includes(value.target),
      from: DEFAULT,
    }),
  );
  return takeApart(diffPlans(plan, next), plan, next, wanted);
}

const targets = ({ binds }: LiveDifferences): readonly string[] => binds.map(({ target }) => target);
const needs = ({ restart }: LiveDifferences): readonly string[] => restart.map(({ what }) => what);

test("new binds can be made, in the order of a start, whatever number they have", () => {
  const found = apart("[Files]\nBind=/srv\n", "[Files]\nBind=/data:/b\nBind=/data:/a:idmap\nBind=/srv\n");
  expect(targets(found)).toEqual(["/a", "/b"]);
  expect(found.restart).toEqual([]);
});

test.each([
  ["what is mounted there already", "Bind=/srv:/x", "Bind=/data:/x"],
  ["what is mounted below it", "TemporaryFileSystem=/x/y", "TemporaryFileSystem=/x/y\nBind=/data:/x"],
  ["what berth itself mounts below it", "", "Bind=/data:/run"],
  ["the owner of its place", "", "Bind=/data:/x:owneridmap"],
])("%s needs a restart", (_, before, after) => {
  const found = apart(`[Files]\n${before}\n`, `[Files]\n${after}\n`);
  expect(targets(found)).toEqual([]);
  expect(found.restart.length).toBeGreaterThan(0);
});

test("what is no plain directory of the host does, too", () => {
  expect(targets(apart("", "[Files]\nBind=/data:/x:norbind\n", ["/x"]))).toEqual([]);
});

test("what is gone or changed is said once for each setting", () => {
  expect(needs(apart("[Files]\nTemporaryFileSystem=/x\n", ""))).toEqual([
    expect.stringMatching(/^no more: make tmpfs /),
    expect.stringMatching(/^no more: attach /),
  ]);
  const changed = apart("[Exec]\nHostname=a\nEnvironment=A=1\n", "[Exec]\nHostname=b\nEnvironment=A=2\n");
  expect(needs(changed)).toEqual([
    "set the hostname to b",
    expect.stringMatching(/^execute .* \(environment: -"A=1" \+"A=2"\)$/),
  ]);
  expect(changed.restart[0]?.source).toBe("/etc/berth/machines/web.nspawn:2");
});
