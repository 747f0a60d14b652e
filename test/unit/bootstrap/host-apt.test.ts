import { expect, test } from "vitest";
import { parseDeb822Sources, parseOneLineSources, pickArchives } from "../../../src/bootstrap/host-apt.ts";

const DEB822 = `Types: deb deb-src
# a comment between fields
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
  contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security/
Suites: bookworm-security
Components: main
`;

test("deb822 sources", () => {
  expect(parseDeb822Sources(DEB822)[0]).toEqual({
    uris: ["http://mirror.example/debian"],
    components: ["main", "contrib"],
    signedBy: "/usr/share/keyrings/debian-archive-keyring.gpg",
  });
  expect(pickArchives(parseDeb822Sources(DEB822))).toEqual({
    debian: "http://mirror.example/debian",
    "debian-security": "http://mirror.example/debian-security",
  });
});

test("one-line sources", () => {
  const text = `# deb http://off.example/debian bookworm main
deb [ arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg ] https://mirror.example/debian/ bookworm main contrib # note
deb-src http://source.example/debian bookworm main
deb http://mirror.example/debian-security bookworm-security main
`;
  expect(parseOneLineSources(text)[0]?.components).toEqual(["main", "contrib"]);
  expect(pickArchives(parseOneLineSources(text))).toEqual({
    debian: "https://mirror.example/debian",
    "debian-security": "http://mirror.example/debian-security",
  });
});

test.each([
  ["another distribution", "deb http://mirror.example/ubuntu noble main"],
  [
    "somebody's archive of the same form, with a key of its own",
    "deb [signed-by=/etc/apt/zabbix.gpg] http://z.example/debian bookworm main",
  ],
  ["an archive without Debian's components", "deb http://docker.example/linux/debian bookworm stable"],
  ["a file of the host", "deb file:///srv/debian bookworm main"],
  ["a password, which would end up in each machine", "deb http://user:secret@mirror.example/debian bookworm main"],
  ["a medium", "deb cdrom:[Debian]/debian bookworm main"],
])("not taken: %s", (_, line) => {
  expect(pickArchives(parseOneLineSources(line))).toEqual({});
});

test("entries that are off, for sources only, or later than another are not taken", () => {
  const off = DEB822.replaceAll("Types: deb\n", "Types: deb\nEnabled: no\n").replace("deb deb-src", "deb-src");
  expect(pickArchives(parseDeb822Sources(off))).toEqual({});
  const two = parseOneLineSources("deb http://a.example/debian x main\ndeb http://b.example/debian x main");
  expect(pickArchives(two)).toEqual({ debian: "http://a.example/debian" });
});
