import { readFileSync } from "node:fs";
import { DBusError } from "./dbus-error.ts";
import { type Interface, method, type Property, signal } from "./interface.ts";
import { introspection } from "./introspect.ts";
import type { Read } from "./known-reads.ts";
import { requireRoot } from "./polkit.ts";
import { Variant } from "./values.ts";

export const PEER = "org.freedesktop.DBus.Peer";
export const INTROSPECTABLE = "org.freedesktop.DBus.Introspectable";
export const PROPERTIES = "org.freedesktop.DBus.Properties";

/** Answered at every path, whether there is an object or not. */
export const peer: Interface = {
  name: PEER,
  methods: {
    Ping: method({ unprivileged: true, in: "", out: "", handler: () => undefined }),
    GetMachineId: method({ unprivileged: true, in: "", out: "s", outNames: ["machine_uuid"], handler: machineId }),
  },
};

function machineId(): string {
  try {
    return readFileSync("/etc/machine-id", "utf8").trim();
  } catch (error) {
    throw new DBusError("FileNotFound", "This host has no /etc/machine-id.", { cause: error });
  }
}

const introspectable: Interface = {
  name: INTROSPECTABLE,
  methods: {
    Introspect: method({
      unprivileged: true,
      in: "",
      out: "s",
      outNames: ["xml_data"],
      handler: async ({ object }) => introspection([...STANDARD, ...object.interfaces], await object.children()),
    }),
  },
};

/** Texts of errors are sd-bus's. */
export const properties: Interface = {
  name: PROPERTIES,
  methods: {
    Get: method({
      unprivileged: true,
      in: "ss",
      out: "v",
      inNames: ["interface_name", "property_name"],
      outNames: ["value"],
      handler(call, name, property) {
        const read = find(call.object.interfaces, name, property);
        const answer = readVariant(read.property);
        if (answer instanceof Variant && typeof answer.value !== "object") call.read = read;
        return answer;
      },
    }),
    GetAll: method({
      unprivileged: true,
      in: "s",
      out: "a{sv}",
      inNames: ["interface_name"],
      outNames: ["props"],
      handler: ({ object }, name) => allOf(object.interfaces, name),
    }),
    Set: method({
      unprivileged: true,
      in: "ssv",
      out: "",
      inNames: ["interface_name", "property_name", "value"],
      async handler(call, name, property, { signature, value }) {
        const { write, type, unprivileged } = find(call.object.interfaces, name, property).property;
        if (!write) throw new DBusError("PropertyReadOnly", `Property '${property}' is not writable.`);
        if (!unprivileged) await requireRoot(call, `${name}.${property}`);
        if (signature !== type)
          throw new DBusError(
            "InvalidArgs",
            `Incorrect parameters for property '${property}', expected '${type}', got '${signature}'.`,
          );
        await write(call, value);
      },
    }),
  },
  signals: {
    PropertiesChanged: signal("sa{sv}as", ["interface_name", "changed_properties", "invalidated_properties"]),
  },
};

/** What an object has before its own interfaces. */
export const STANDARD: readonly Interface[] = [peer, introspectable, properties];

/** An interface that is not named is any. */
function find(own: readonly Interface[], interfaceName: string, name: string): Read {
  for (const one of own)
    if (interfaceName === "" || one.name === interfaceName) {
      const property = row(one.properties, name);
      if (property) return { property, isCurrent: one.isCurrent };
    }
  throw new DBusError("UnknownProperty", `Unknown interface ${interfaceName} or property ${name}.`);
}

async function allOf(own: readonly Interface[], name: string): Promise<Record<string, Variant>> {
  const wanted = own.filter((one) => name === "" || one.name === name);
  // Those that every object has have no properties.
  if (wanted.length === 0 && name !== "" && ![PEER, INTROSPECTABLE, PROPERTIES].includes(name))
    throw new DBusError("UnknownInterface", `Unknown interface '${name}'.`);
  const rows = wanted.flatMap((one) => Object.entries(one.properties ?? {})).filter(([, { hidden }]) => !hidden);
  const values = rows.map(([, property]) => readVariant(property));
  // All are asked at a time, and most answer at once.
  const read = values.some((value) => value instanceof Promise) ? await Promise.all(values) : values;
  return Object.fromEntries(rows.map(([name], index) => [name, read[index] as Variant]));
}

export function readVariant({ type, read }: Property): Variant | Promise<Variant> {
  const value = read();
  return value instanceof Promise ? value.then((later: unknown) => new Variant(type, later)) : new Variant(type, value);
}

/** A row by its name, and never what all objects of JavaScript have. */
export function row<T>(rows: Readonly<Record<string, T>> | undefined, name: string): T | undefined {
  return rows && Object.hasOwn(rows, name) ? rows[name] : undefined;
}
