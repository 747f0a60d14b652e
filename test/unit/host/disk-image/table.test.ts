import { expect, test } from "vitest";
import { parseTable } from "../../../../src/host/disk-image/table.ts";

const ROOT = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
const row = (number: number, more = ""): string =>
  `NR="${number}" START="2048" SECTORS="4096" SCHEME="gpt" FLAGS="0x1000000000000000" TYPE="${ROOT}" NAME="${more}"`;

test("a table, as partx and blkid tell it", () => {
  const lines = [
    ...["berth-whole", "DEVNAME=/tree", "PTTYPE=gpt", "berth-status 0", "berth-table"],
    ...[row(1, "r\\x24t \\xc3\\xa9"), "berth-part 1", "DEVNAME=/tree", "TYPE=ext4", "USAGE=filesystem"],
    ...["berth-status 0", "berth-end"],
  ];
  expect(parseTable(lines)).toEqual({
    scheme: "gpt",
    content: null,
    partitions: [
      {
        ...{ number: 1, offset: 1 << 20, size: 2 << 20, type: ROOT, flags: 1n << 60n, label: "r$t é" },
        content: { type: "ext4", usage: "filesystem" },
      },
    ],
  });
});

test("one file system alone", () => {
  const lines = ["berth-whole", "TYPE=xfs", "USAGE=filesystem", "berth-status 0", "berth-table"];
  const complaint = "partx: /tree: failed to read partition table";
  expect(parseTable([...lines, complaint, "berth-end"])).toEqual({
    ...{ scheme: null, partitions: [] },
    content: { type: "xfs", usage: "filesystem" },
  });
});

test("an end that is not there, a label that is cut, and lines that are none", () => {
  expect(parseTable(["berth-whole", "TYPE=xfs"])).toBeNull();
  expect(parseTable([])).toBeNull();
  const cut = row(1, "x".repeat(300)).slice(0, 240);
  const table = parseTable(["berth-table", cut, 'NR="2" START="', "berth-part", "berth-end"]);
  expect(table?.partitions.map(({ number, label }) => [number, label.slice(0, 3)])).toEqual([[1, "xxx"]]);
});
