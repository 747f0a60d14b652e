import { expect, test } from "vitest";
import { parseUnitFile } from "../../../src/config/unit-file.ts";
import { buildSpec } from "../../../src/spec/build-spec.ts";
import { showSource } from "../../../src/spec/source.ts";
import { weaknesses } from "../../../src/spec/weaknesses.ts";

function weak(text: string, exposed = false, disk = 0): string[] {
  const { spec } = buildSpec({
    name: "m",
    root: { value: "/m", source: { from: "default" } },
    assignments: parseUnitFile(text, "f").assignments,
    options: [],
    command: [],
  });
  if (spec === undefined) throw new Error("no spec");
  return weaknesses(spec, exposed, disk).map(({ what, source }) => `${showSource(source)}: ${what}`);
}

test.each([
  ["", []],
  ["[Exec]\nPrivateUsers=pick\nBoot=yes\n[Network]\nPrivate=yes\n[Files]\nBindReadOnly=/a\nBind=+/a:/b", []],
  ["[Exec]\nPrivateUsers=no", ["f:2: no user namespace: root inside is root on the host"]],
  ["[Exec]\nPrivateUsers=identity", ["f:2: its users have the same ids as the host's users"]],
  ["[Exec]\nPrivateUsers=1000", ["f:2: its users share ids from 1000 on with the host's users"]],
  ["[Exec]\nPrivateUsers=65536", []],
  ["[Network]\nPrivate=no", ["f:2: it shares the host's network, abstract sockets included"]],
  ["[Exec]\nCapability=CAP_KILL CAP_NET_ADMIN", []],
  ["[Exec]\nCapability=CAP_KILL CAP_BPF", ["f:2: it has more capabilities: CAP_BPF"]],
  ["[Exec]\nCapability=CAP_BPF\nDropCapability=CAP_BPF", []],
  ["[Exec]\nCapability=all", ["f:2: it keeps all capabilities"]],
  [
    "[Exec]\nCapability=CAP_NET_ADMIN\n[Network]\nPrivate=no",
    ["f:4: it shares the host's network, abstract sockets included", "f:2: it has more capabilities: CAP_NET_ADMIN"],
  ],
  ["[Exec]\nSystemCallFilter=@clock bpf\nSystemCallFilter=~sync", ["f:2: it may make more system calls: @clock, bpf"]],
  ["[Files]\nBind=/srv:/x\nBindReadOnly=/a", ["f:2: it may write to /srv of the host"]],
  [
    "[Files]\nBind=/srv:/x:idmap",
    ["f:2: it may write to /srv of the host, with owners and set-user-ID bits as on the host"],
  ],
])("%j", (text, expected) => {
  expect(weak(text)).toEqual(expected);
});

test("the range of the tree's owner: the host's own ids, if nobody has chowned it", () => {
  expect(weak("[Exec]\nPrivateUsers=yes")).toEqual(["f:2: its users have the same ids as the host's users"]);
  expect(weak("[Exec]\nPrivateUsers=yes", false, 1048576)).toEqual([]);
});

test("a tree that users of the host can come to", () => {
  expect(weak("", true)).toEqual([
    expect.stringMatching(/^default: users of the host can come to \/m and run .*0700$/),
  ]);
});
