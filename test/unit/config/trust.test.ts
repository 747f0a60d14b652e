import { expect, test } from "vitest";
import { restrictToSafe } from "../../../src/config/trust.ts";
import { parseUnitFile } from "../../../src/config/unit-file.ts";
import { showProblem } from "../../../src/spec/problem.ts";

const SHIPPED = `[Exec]
Boot=yes
Environment=A=1
Ephemeral=yes
PivotRoot=/x
Capability=all
Capability=
DropCapability=CAP_KILL
PrivateUsers=no
SystemCallFilter=@raw-io
Unknown=1
[Files]
Bind=/:/host
BindUser=root
[Network]
Private=no
`;

test("settings of an image: the safe ones stay, the others are named", () => {
  const { kept, dropped } = restrictToSafe(parseUnitFile(SHIPPED, "i.nspawn").assignments, "/etc/berth/machines");
  expect(kept.map((each) => each.key)).toEqual(["Boot", "Environment", "DropCapability", "Unknown"]);
  expect(dropped.map(({ source, what }) => `${source.from === "file" && source.line}: ${what.split(" ")[0]}`)).toEqual([
    "4: Ephemeral=",
    "5: PivotRoot=",
    "6: Capability=",
    "7: Capability=",
    "9: PrivateUsers=",
    "10: SystemCallFilter=",
    "13: Bind=",
    "14: BindUser=",
    "16: Private=",
  ]);
  expect(dropped.slice(0, 1).map(showProblem)).toEqual([
    "i.nspawn:4:11: warning: Ephemeral= is ignored: settings that come with an image may not set it (copied to /etc/berth/machines it is trusted)",
  ]);
});
