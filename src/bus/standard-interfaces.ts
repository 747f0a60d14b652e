import { readFileSync } from "node:fs";
import { DBusError } from "./dbus-error.ts";
import { type Interface, method, type Property, signal } from "./interface.ts";
import { introspection } from "./introspect.ts";
import { requireRoot } from "./polkit.ts";
import { Variant } from "./values.ts";

export const PEER = "org.freedesktop.DBus.Peer";
export const INTROSPECTABLE = "org.freedesktop.DBus.Introspectable";
export const PROPERTIES = "org.freedesktop.DBus.Properties";

/** What an object has beside its own interfaces; texts of errors are sd-bus's. `wanted`: only that one is looked for. */
export function standardInterfaces(
  own: readonly Interface[],
  children: () => Promise<readonly string[]>,
  wanted?: string,
): Interface[] {
  if (wanted === PROPERTIES) return [properties(own)];
  const all: Interface[] = [peer, introspectable(), properties(own)];
  return all;

  function introspectable(): Interface {
    const handler = async (): Promise<string> => introspection([...all, ...own], await children());
    return {
      name: INTROSPECTABLE,
      methods: { Introspect: method({ unprivileged: true, in: "", out: "s", outNames: ["xml_data"], handler }) },
    };
  }
}

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

function properties(own: readonly Interface[]): Interface {
  return {
    name: PROPERTIES,
    methods: {
      Get: method({
        unprivileged: true,
        in: "ss",
        out: "v",
        inNames: ["interface_name", "property_name"],
        outNames: ["value"],
        handler: (_, name, property) => readVariant(find(own, name, property)),
      }),
      GetAll: method({
        unprivileged: true,
        in: "s",
        out: "a{sv}",
        inNames: ["interface_name"],
        outNames: ["props"],
        handler: (_, name) => allOf(own, name),
      }),
      Set: method({
        unprivileged: true,
        in: "ssv",
        out: "",
        inNames: ["interface_name", "property_name", "value"],
        async handler(call, name, property, { signature, value }) {
          const { write, type, unprivileged } = find(own, name, property);
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
}

/** An interface that is not named is any. */
function find(own: readonly Interface[], interfaceName: string, name: string): Property {
  for (const one of own)
    if (interfaceName === "" || one.name === interfaceName) {
      const property = row(one.properties, name);
      if (property) return property;
    }
  throw new DBusError("UnknownProperty", `Unknown interface ${interfaceName} or property ${name}.`);
}

async function allOf(own: readonly Interface[], name: string): Promise<Record<string, Variant>> {
  const wanted = own.filter((one) => name === "" || one.name === name);
  // Those that every object has have no properties.
  if (wanted.length === 0 && name !== "" && ![PEER, INTROSPECTABLE, PROPERTIES].includes(name))
    throw new DBusError("UnknownInterface", `Unknown interface '${name}'.`);
  const rows = wanted.flatMap((one) => Object.entries(one.properties ?? {}));
  const values = await Promise.all(
    rows
      .filter(([, { hidden }]) => !hidden)
      .map(async ([key, property]) => [key, await readVariant(property)] as const),
  );
  return Object.fromEntries(values);
}

export async function readVariant({ type, read }: Property): Promise<Variant> {
  return new Variant(type, await read());
}

/** A row by its name, and never what all objects of JavaScript have. */
export function row<T>(rows: Readonly<Record<string, T>> | undefined, name: string): T | undefined {
  return rows && Object.hasOwn(rows, name) ? rows[name] : undefined;
}
