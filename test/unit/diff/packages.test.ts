import { expect, test } from "vitest";
import { apkPackages, comparePackages, dpkgPackages, pacmanPackages, rpmPackages } from "../../../src/diff/packages.ts";

test("dpkg: what is installed, whole or half; not what has left its configuration alone", () => {
  const status = [
    "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\nDescription: library\n Version: 9\n .\n more",
    "Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1",
    "Package: half\nStatus: install reinstreq half-installed\nArchitecture: all\nVersion: 2",
    "Status: install ok installed\nVersion: 3",
    "",
  ].join("\n\n");
  expect([...dpkgPackages(status)]).toEqual([
    ["libc6:amd64", "2.36-9"],
    ["half:all", "2"],
  ]);
  expect([...dpkgPackages("")]).toEqual([]);
  expect([...dpkgPackages("\u0000garbage: \n\n::\n")]).toEqual([]);
});

test("apk and pacman", () => {
  expect([...apkPackages("C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\nF:lib\nR:x\n\nP:busybox\nV:1.36\n\n")]).toEqual([
    ["musl", "1.2.5-r0"],
    ["busybox", "1.36"],
  ]);
  expect([...pacmanPackages(["ALPM_DB_VERSION", "gcc-libs-14.2.1+r134-1", "xorg-server-21.1.4-2"])]).toEqual([
    ["gcc-libs", "14.2.1+r134-1"],
    ["xorg-server", "21.1.4-2"],
  ]);
});

test("rpm: several versions of one package are one entry", () => {
  const lines = ["bash x86_64 5.2-1", "kernel x86_64 6.2-1", "kernel x86_64 6.1-1", "strange", "a b"];
  expect([...rpmPackages(lines)]).toEqual([
    ["bash:x86_64", "5.2-1"],
    ["kernel:x86_64", "6.1-1, 6.2-1"],
  ]);
});

test("what was added, removed and changed, by name; the architecture is told where it tells packages apart", () => {
  const before = new Map([
    ["a:amd64", "1"],
    ["b:amd64", "1"],
    ["c:amd64", "1"],
    ["d:all", "4"],
  ]);
  const after = new Map([
    ["c:amd64", "2"],
    ["c:i386", "2"],
    ["a:amd64", "2"],
    ["d:all", "4"],
  ]);
  expect(comparePackages("dpkg", before, after)).toEqual({
    manager: "dpkg",
    added: [{ name: "c:i386", version: "2" }],
    removed: [{ name: "b", version: "1" }],
    changed: [
      { name: "a", from: "1", to: "2" },
      { name: "c:amd64", from: "1", to: "2" },
    ],
  });
});
