import { describe, expect, test } from "vitest";
import { parameters } from "../../../src/config/values.ts";
import { isIndex, readConfig, readManifest, selectPlatform } from "../../../src/transfer/oci/manifest.ts";
import { nameOfReference, parseReference, showReference } from "../../../src/transfer/oci/reference.ts";
import { parseChallenge } from "../../../src/transfer/oci/registry.ts";
import { settingsOf } from "../../../src/transfer/oci/settings.ts";

const DIGEST = `sha256:${"a".repeat(64)}`;

describe("a reference", () => {
  test.each([
    ["docker.io/library/alpine:3.20", ["docker.io", "library/alpine", "3.20"]],
    ["localhost/app", ["localhost", "app", "latest"]],
    ["localhost:5000/a/b/c", ["localhost:5000", "a/b/c", "latest"]],
    ["[::1]:5000/app:x_Y.1", ["[::1]:5000", "app", "x_Y.1"]],
    [`r.example/a-b/c__d@${DIGEST}`, ["r.example", "a-b/c__d", DIGEST]],
    [`r.example/a:1@${DIGEST}`, ["r.example", "a", DIGEST]],
  ])("%s", (text, parts) => {
    const reference = parseReference(text);
    expect([reference.registry, reference.repository, reference.version]).toEqual(parts);
    expect(parseReference(showReference(reference))).toEqual(reference);
  });

  test.each([
    ...[
      "",
      "alpine",
      "alpine:3",
      "library/alpine",
      "docker.io",
      "docker.io/",
      "docker.io/A",
      "docker.io/a/",
      "docker.io//a",
    ],
    ...[
      "docker.io/../etc",
      "docker.io/a/../b",
      "docker.io/a:",
      "docker.io/a:-x",
      "docker.io/a@sha256:1",
      "docker.io/a@md5:1",
    ],
    ...[
      `docker.io/a@${DIGEST}@${DIGEST}`,
      "https://docker.io/a",
      "-x.y/a",
      "x.y:/a",
      "x y.z/a",
      "x.y/a b",
      `x.y/${"a".repeat(256)}`,
    ],
    ...["x.y/a\n", "x.y\u001b/a", "user:password@x.y/a"],
  ])("%j is none", (text) => {
    expect(() => parseReference(text)).toThrow(expect.objectContaining({ exitStatus: 2 }));
  });

  test("gives a machine its name", () => {
    expect(nameOfReference(parseReference("docker.io/library/alpine:3"))).toBe("alpine");
  });
});

describe("a challenge", () => {
  test.each<[string, string, Record<string, string>]>([
    [
      'Bearer realm="https://x/token",service="s,t", scope="a b"',
      "bearer",
      { realm: "https://x/token", service: "s,t", scope: "a b" },
    ],
    ["Basic realm=x", "basic", { realm: "x" }],
    ['bearer REALM="a",realm="b"', "bearer", { realm: "a" }],
    ["", "", {}],
    ["Bearer", "", {}],
    [`Bearer ${'a="'.repeat(5000)}`, "bearer", { a: "a=" }],
  ])("%.60s", (text, scheme, values) => {
    const challenge = parseChallenge(text);
    expect(challenge.scheme).toBe(scheme);
    expect(Object.fromEntries(challenge.values)).toEqual(values);
  });
});

describe("manifests", () => {
  const of = (type: string, digest = DIGEST, size = 1): object => ({ mediaType: type, digest, size });
  const CONFIG = of("application/vnd.oci.image.config.v1+json");
  const LAYER = of("application/vnd.oci.image.layer.v1.tar+gzip");
  const MANIFEST = { schemaVersion: 2, config: CONFIG, layers: [LAYER] };

  test("of an index: the one for Linux and the architecture", () => {
    const entry = (os: string, architecture: string, digit: string, variant?: string): object => ({
      ...of("x", `sha256:${digit.repeat(64)}`),
      platform: { os, architecture, variant },
    });
    const index = {
      manifests: [
        ...[
          entry("windows", "amd64", "0"),
          entry("unknown", "unknown", "1"),
          entry("linux", "arm", "2", "v6"),
          entry("linux", "arm", "3", "v7"),
        ],
        ...[entry("linux", "386", "4"), entry("linux", "arm64", "5", "v8"), null, 1, {}, entry("linux", "amd64", "6")],
      ],
    };
    const digit = (architecture: string): string => selectPlatform(index, architecture).digest.slice(-1);
    expect(["amd64", "arm64", "i386", "armhf", "armel"].map(digit)).toEqual(["6", "5", "4", "3", "2"]);
    expect(() => digit("s390x")).toThrow(
      expect.objectContaining({ hint: "it is there for arm/v6, arm/v7, 386, arm64/v8, amd64; --arch chooses" }),
    );
    expect(() => selectPlatform({}, "amd64")).toThrow(expect.objectContaining({ hint: "it has nothing for Linux" }));
    expect([
      isIndex(index, ""),
      isIndex(MANIFEST, ""),
      isIndex({}, "application/vnd.docker.distribution.manifest.list.v2+json"),
    ]).toEqual([true, false, true]);
  });

  test("are read where they are what they should be", () => {
    expect(readManifest(MANIFEST).layers).toEqual([
      { type: "application/vnd.oci.image.layer.v1.tar+gzip", digest: DIGEST, size: 1 },
    ]);
    for (const wrong of [
      ...[
        null,
        1,
        [],
        "x",
        {},
        { ...MANIFEST, schemaVersion: 1 },
        { ...MANIFEST, config: null },
        { ...MANIFEST, layers: {} },
      ],
      ...[
        { ...MANIFEST, config: of("x", DIGEST, 2 ** 40) },
        { ...MANIFEST, layers: [of("text/html")] },
      ],
      ...[-1, 0.5, "1", 2 ** 53].map((size) => ({ ...MANIFEST, layers: [{ ...LAYER, size }] })),
      ...["", "sha256:", "sha512:x", `${DIGEST}/..`, 7].map((digest) => ({
        ...MANIFEST,
        layers: [{ ...LAYER, digest }],
      })),
    ])
      expect(() => readManifest(wrong)).toThrow(/refused/);
  });
});

describe("settings of a configuration", () => {
  const settings = (config: object) => settingsOf(readConfig({ os: "linux", config }), "r.example/a:1");

  test("are its command and what goes with it; no more than the settings of any machine may say", () => {
    expect(settings({}).text).toBe("# What r.example/a:1 says of how it is run, by berth pull-oci.\n[Exec]\nBoot=no\n");
    expect(
      settings({ Entrypoint: ["/a"], Cmd: ["-c", "x y"], User: "www-data", WorkingDir: "/srv/a b", StopSignal: "15" })
        .text,
    ).toContain("Parameters=/a -c 'x y'\nUser=www-data\nWorkingDirectory=/srv/a b\nKillSignal=15\n");
    expect(settings({ User: "root", WorkingDir: "/" }).text).not.toMatch(/User|Working/);
    expect(settings({ User: "4294967294" }).text).toContain("User=4294967294\n");
    expect(settings({ User: "4294967295" }), "no machine starts with that").toMatchObject({
      text: expect.not.stringContaining("User="),
      left: ["user 4294967295"],
    });
  });

  test.each<[string[]]>([
    [["a", "b c", "", "it's", '"', `'"'"`, "\\", "a\\", "#x", ";", "=", "\t", "é", "$A %h"]],
    [["\\"]],
    [["'"]],
  ])("%j comes back as it was, by the rules of settings files", (command) => {
    const [line = ""] = /^Parameters=.*$/m.exec(settings({ Cmd: command }).text) ?? [];
    expect(parameters(line.slice("Parameters=".length), () => undefined)).toEqual(command);
  });

  test("hold no line that the image has written", () => {
    const evil = "x\n[Files]\nBind=/:/host";
    const { text, left } = settings({
      ...{
        Cmd: [evil],
        Env: [`A=${evil}`, `B\nC=1`, "D=\r\nE=1", "F=\0", "=x", "G", "OK=1"],
        User: evil,
        WorkingDir: `/${evil}`,
      },
      StopSignal: evil,
    });
    expect(text.split("\n").slice(1)).toEqual(["[Exec]", "Boot=no", "Environment=OK=1", ""]);
    expect(left.length).toBe(10);
    expect(left.join("")).not.toContain("\n");
    expect(settings({ WorkingDir: "/a\\" }).text).not.toContain("Working");
  });

  test("of what is no configuration are none", () => {
    for (const value of [null, 1, [], { config: [] }, { config: { Cmd: "x", Env: {}, User: 1 } }])
      expect(readConfig(value)).toMatchObject({ command: [], environment: [], user: "" });
  });
});
