import type { Interface, Method, Property, Signal } from "./interface.ts";
import { parseSignature } from "./signature.ts";

const DOCTYPE = `<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
"https://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
`;

/** The document of an object or of a node above objects; `children` are path elements. */
export function introspection(interfaces: readonly Interface[], children: readonly string[]): string {
  const nodes = [...new Set(children)].sort().map((name) => ` <node name="${escaped(name)}"/>\n`);
  return `${DOCTYPE}<node>\n${interfaces.map(interfaceXml).join("")}${nodes.join("")}</node>\n`;
}

export function interfaceXml({ name, methods = {}, properties = {}, signals = {} }: Interface): string {
  const rows = [
    ...shown(properties).map(([row, property]) => propertyXml(row, property)),
    ...shown(methods).map(([row, method]) => methodXml(row, method)),
    ...shown(signals).map(([row, signal]) => signalXml(row, signal)),
  ];
  return ` <interface name="${escaped(name)}">\n${rows.join("")} </interface>\n`;
}

function shown<T extends { readonly hidden?: boolean }>(rows: Readonly<Record<string, T>>): [string, T][] {
  return Object.entries(rows).filter(([, row]) => !row.hidden);
}

function propertyXml(name: string, { type, emits, write, annotations, unprivileged }: Property): string {
  const emitted = emits === "true" ? {} : { "org.freedesktop.DBus.Property.EmitsChangedSignal": emits };
  const attributes = `name="${escaped(name)}" type="${type}" access="${write ? "readwrite" : "read"}"`;
  return element(
    "property",
    attributes,
    annotationsXml({ ...emitted, ...guard(!write || unprivileged), ...annotations }),
  );
}

function methodXml(name: string, method: Method): string {
  const parts = [
    ...argumentsXml(method.in, method.inNames, ' direction="in"'),
    ...argumentsXml(method.out, method.outNames, ' direction="out"'),
    ...annotationsXml({ ...guard(method.unprivileged), ...method.annotations }),
  ];
  return element("method", `name="${escaped(name)}"`, parts);
}

function guard(open: boolean | undefined): Readonly<Record<string, string>> {
  return open ? {} : { "org.freedesktop.systemd1.Privileged": "true" };
}

function signalXml(name: string, { signature, names, annotations }: Signal): string {
  const parts = [...argumentsXml(signature, names, ""), ...annotationsXml(annotations)];
  return element("signal", `name="${escaped(name)}"`, parts);
}

function argumentsXml(signature: string, names: readonly string[], direction: string): string[] {
  return parseSignature(signature).map(({ text }, index) => {
    const name = names[index];
    return `   <arg type="${text}"${name === undefined ? "" : ` name="${escaped(name)}"`}${direction}/>\n`;
  });
}

function annotationsXml(annotations: Readonly<Record<string, string>> = {}): string[] {
  return Object.entries(annotations).map(
    ([name, value]) => `   <annotation name="${escaped(name)}" value="${escaped(value)}"/>\n`,
  );
}

function element(tag: string, attributes: string, parts: readonly string[]): string {
  if (parts.length === 0) return `  <${tag} ${attributes}/>\n`;
  return `  <${tag} ${attributes}>\n${parts.join("")}  </${tag}>\n`;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
