/**
 * What busctl introspects, as lines to compare: a member each, with all that is said of it, and a line a node below.
 *
 *   await introspect(address, "org.freedesktop.machine1", "/org/freedesktop/machine1/image/web")
 *   // ["machine1.Image.Rename(s) in", "machine1.Image.Name: s read {EmitsChangedSignal=false}", "node web", ...]
 */
import { execFile } from "node:child_process";
import { promisify } from "node:util";

export async function introspect(address: string, name: string, path: string): Promise<readonly string[]> {
  const args = [`--address=${address}`, "--xml-interface", "introspect", name, path];
  return linesOf((await promisify(execFile)("busctl", args)).stdout);
}

interface Element {
  readonly tag: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly inner: Element[];
}

function linesOf(xml: string): readonly string[] {
  const [node] = parse(xml.replace(/<!DOCTYPE[^>]*>/, "")).inner;
  return (node?.inner ?? []).flatMap(({ tag, attributes, inner }) => {
    const name = shortened(attributes["name"] ?? "");
    if (tag === "node") return [`node ${name}`];
    // One without members is one, too.
    return [`interface ${name}`, ...inner.map((member) => `${name}.${memberLine(member)}`)];
  });
}

/** Whatever is not known is an error: nothing is left out of a comparison by not being read. */
function memberLine({ tag, attributes: { name, type, access, ...more }, inner }: Element): string {
  const of = (wanted: string): Element[] => inner.filter((each) => each.tag === wanted);
  const args = of("arg");
  const odd = [
    ...Object.keys(more),
    ...inner.map((each) => each.tag).filter((each) => !/^(arg|annotation)$/.test(each)),
  ];
  if (odd.length > 0) throw new Error(`${tag} ${name} has ${odd}`);
  const notes = of("annotation").map(
    (each) => `${shortened(each.attributes["name"] ?? "")}=${each.attributes["value"]}`,
  );
  const annotated = notes.length === 0 ? "" : ` {${notes.sort().join(", ")}}`;
  const show = (out: boolean): string =>
    args
      .filter((each) => (each.attributes["direction"] === "out") === out)
      .map((each) => `${each.attributes["type"]} ${each.attributes["name"] ?? ""}`.trim())
      .join(", ");
  if (tag === "property") return `${name}: ${type} ${access}${annotated}`;
  if (tag === "signal") return `${name} tells (${show(false)})${annotated}`;
  if (tag === "method") return `${name}(${show(false)}) -> (${show(true)})${annotated}`;
  throw new Error(`<${tag}> in an interface`);
}

function shortened(name: string): string {
  return name.replace(/^org\.freedesktop\.(DBus\.(Method\.|Property\.)?|systemd1\.(?=Privileged$))?/, "");
}

function parse(xml: string): Element {
  const root: Element = { tag: "", attributes: {}, inner: [] };
  const open = [root];
  let rest = xml.trim();
  while (rest !== "") {
    const found = /^<(\/?)(\w+)((?:\s+\w+="[^"]*")*)\s*(\/?)>\s*/.exec(rest);
    const above = open.at(-1);
    if (found === null || above === undefined) throw new Error(`no introspection: ${rest.slice(0, 80)}`);
    const [whole, isEnd, tag = "", attributes = "", isEmpty] = found;
    rest = rest.slice(whole.length);
    if (isEnd) {
      if (open.pop()?.tag !== tag) throw new Error(`</${tag}> ends nothing`);
      continue;
    }
    const pairs = [...attributes.matchAll(/(\w+)="([^"]*)"/g)].map(([, key = "", value = ""]) => [key, value] as const);
    const element: Element = { tag, attributes: Object.fromEntries(pairs), inner: [] };
    above.inner.push(element);
    if (!isEmpty) open.push(element);
  }
  if (open.length !== 1) throw new Error(`<${open.at(-1)?.tag}> has no end`);
  return root;
}
