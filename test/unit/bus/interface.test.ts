import { expect, test } from "vitest";
import { policiesOf } from "../../../src/bus/bus-policy.ts";
import { type Interface, method, property, signal } from "../../../src/bus/interface.ts";
import { introspection } from "../../../src/bus/introspect.ts";
import type { Values } from "../../../src/bus/values.ts";

const methods = {
  Several: method({ unprivileged: true, in: "", out: "ub", handler: () => [7, true] }),
  Later: method({
    unprivileged: true,
    in: "s",
    out: "ub",
    inNames: ["text"],
    handler: async (_, text) => [text.length, true],
  }),
  List: method({
    unprivileged: true,
    in: "s",
    out: "a(so)",
    outNames: ["found"],
    handler: async (_, s) => [s].map((one) => [one, "/"] as const),
  }),
  Nothing: method({ in: "", out: "", async handler() {}, annotations: { "a.b": '"<&>"' } }),
  Hidden: method({ in: "", out: "", handler: () => undefined, hidden: true }),
};

// tsc is the test of these: what does not fit its signature does not compile.
const wrong = [
  // @ts-expect-error a boolean, not a number
  method({ in: "", out: "ub", handler: () => [7, 3] }),
  // @ts-expect-error two values
  method({ in: "", out: "ub", handler: async () => [7] }),
  // @ts-expect-error the argument is a string
  method({ in: "s", out: "s", handler: (_, text: number) => `${text}` }),
  // @ts-expect-error a path is a string
  method({ in: "s", out: "o", handler: () => 3 }),
  // @ts-expect-error it has to answer
  method({ in: "s", out: "o", handler: async () => undefined }),
  // @ts-expect-error bytes
  property({ type: "ay", emits: "const", read: () => "text" }),
];

test("the types of a signature are those of the values", () => {
  const values: Values<"sa{sv}(iay)a(ssso)xb"> = ["", {}, [1, Buffer.alloc(0)], [["", "", "", "/"]], 1n, true];
  expect(values.length).toBe(6);
  expect(wrong.length).toBe(6);
});

test("introspection is written as sd-bus writes it", () => {
  const of: Interface = {
    name: "a.b",
    methods,
    properties: {
      Level: property({ type: "u", emits: "true", read: () => 1, write: () => undefined }),
      Name: property({ type: "s", emits: "const", read: () => "x" }),
    },
    signals: { Gone: signal("so", ["name", "path"]), Bare: signal("") },
  };
  expect(
    introspection([of], ["web", "a_2db", "web"]),
  ).toBe(`<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
"https://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
<node>
 <interface name="a.b">
  <property name="Level" type="u" access="readwrite">
   <annotation name="org.freedesktop.systemd1.Privileged" value="true"/>
  </property>
  <property name="Name" type="s" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="const"/>
  </property>
  <method name="Several">
   <arg type="u" direction="out"/>
   <arg type="b" direction="out"/>
  </method>
  <method name="Later">
   <arg type="s" name="text" direction="in"/>
   <arg type="u" direction="out"/>
   <arg type="b" direction="out"/>
  </method>
  <method name="List">
   <arg type="s" direction="in"/>
   <arg type="a(so)" name="found" direction="out"/>
  </method>
  <method name="Nothing">
   <annotation name="org.freedesktop.systemd1.Privileged" value="true"/>
   <annotation name="a.b" value="&quot;&lt;&amp;&gt;&quot;"/>
  </method>
  <signal name="Gone">
   <arg type="s" name="name"/>
   <arg type="o" name="path"/>
  </signal>
  <signal name="Bare"/>
 </interface>
 <node name="a_2db"/>
 <node name="web"/>
</node>
`);
});

test("the bus lets others call what is open, and read", () => {
  expect(policiesOf({ name: "org.a", interfaces: [{ name: "a.b", methods }] })).toBe(`  <policy user="root">
    <allow own="org.a"/>
    <allow send_destination="org.a"/>
    <allow receive_sender="org.a"/>
  </policy>
  <policy context="default">
    <allow send_destination="org.a" send_interface="org.freedesktop.DBus.Introspectable"/>
    <allow send_destination="org.a" send_interface="org.freedesktop.DBus.Peer"/>
    <allow send_destination="org.a" send_interface="org.freedesktop.DBus.Properties" send_member="Get"/>
    <allow send_destination="org.a" send_interface="org.freedesktop.DBus.Properties" send_member="GetAll"/>
    <allow send_destination="org.a" send_interface="a.b" send_member="Several"/>
    <allow send_destination="org.a" send_interface="a.b" send_member="Later"/>
    <allow send_destination="org.a" send_interface="a.b" send_member="List"/>
    <allow receive_sender="org.a"/>
  </policy>
`);
});
