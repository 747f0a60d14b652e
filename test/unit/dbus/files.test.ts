/** Files of units/ say what the daemon has on the bus. UPDATE=1 writes the bus's policy anew; the others are written by hand. */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { policyFile } from "../../../src/bus/bus-policy.ts";
import { interfaceXml } from "../../../src/bus/introspect.ts";
import { berth1Manager } from "../../../src/dbus/berth1.ts";
import { ExecCalls } from "../../../src/dbus/berth1-exec.ts";
import { policies } from "../../../src/dbus/faces.ts";
import { Machines } from "../../../src/dbus/machines.ts";
import { BERTH1 } from "../../../src/dbus/places.ts";
import { ImageStore } from "../../../src/image/store.ts";
import { ImageSnapshots } from "../../../src/manager/image-snapshots.ts";
import { Manager } from "../../../src/manager/manager.ts";
import { ThrowAways } from "../../../src/manager/throw-aways.ts";
import { Transfers } from "../../../src/transfer/transfers.ts";
import { ASKED, SIGNED } from "../../lib/bus-access-rows.ts";
import { testPaths } from "../../lib/trees.ts";

const UNITS = fileURLToPath(new URL("../../../units", import.meta.url));
const paths = testPaths("/nonexistent");
const manager = new Manager({ paths, bootId: "", log: () => undefined });
const store = new ImageStore(paths);
const services = {
  ...{ paths, manager, machines: new Machines(manager), store, log: () => undefined },
  ...{ snapshots: new ImageSnapshots(manager), throwAways: new ThrowAways(manager) },
};
const all = policies(services, new Transfers(store));

const read = (file: string): string => readFileSync(`${UNITS}/${file}`, "utf8");
/** Without what is for people. */
const bare = (xml: string): string =>
  xml
    .replaceAll(/<!--.*?-->/gs, "")
    .replaceAll(/\s*\n\s*/g, "\n")
    .trim();

describe("org.berth.Manager1.xml", () => {
  const text = read("dbus/org.berth.Manager1.xml");

  test("is what is served", () => {
    const served = interfaceXml(berth1Manager(services, new ExecCalls(services)));
    expect(/<node>\n(.*)\n<\/node>/s.exec(bare(text))?.[1]).toBe(bare(served));
  });

  test("has a word about each member", () => {
    const members = [...text.matchAll(/(-->\n)? {2}<(?:method|signal|property) name="(\w+)"/g)];
    expect(members.length).toBeGreaterThan(15);
    expect(members.filter(([, comment]) => comment === undefined).map(([, , name]) => name)).toEqual([]);
  });
});

test.each([BERTH1, ...all.map(({ name }) => name).filter((name) => name !== BERTH1)])("the policy of %s", (name) => {
  const generated = policyFile(all.filter((service) => service.name === name));
  const file = `dbus/${name}.conf`;
  if (process.env["UPDATE"] === "1") writeFileSync(`${UNITS}/${file}`, generated);
  expect(read(file)).toBe(generated);
  // Root alone has the name; what changes anything asks polkit or is root's.
  expect(generated).toMatch(/<policy user="root">\n {4}<allow own=/);
});

test("polkit's actions of berth are those that are asked for", () => {
  const actions = [...read("polkit/org.berth.policy").matchAll(/<action id="([^"]+)">/g)].map(([, id]) => id);
  expect(actions).toEqual(["org.berth.manage", "org.berth.exec"]);
});

test("polkit's actions of machine1 and import1 are those that are asked for, for hosts without systemd-container", () => {
  const text = read("polkit/org.berth.machined.policy");
  const actions = [...text.matchAll(/<action id="([^"]+)">/g)].map(([, id]) => id);
  const asked = [...ASKED.map((row) => row[3]), ...SIGNED.map((row) => row[4])].filter((id) =>
    /^org\.freedesktop\.(machine1|import1)\./.test(id),
  );
  const ofTheHost = ["host-shell", "host-open-pty"].map((action) => `org.freedesktop.machine1.${action}`);
  expect([...new Set([...asked, ...ofTheHost])].sort()).toEqual([...actions].sort());
});
