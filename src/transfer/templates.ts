import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { runConfined } from "../host/confine.ts";
import { InRoot } from "../host/in-root.ts";
import { checkHostname } from "../spec/name.ts";
import { printable } from "../spec/quote.ts";
import { openArchiveFile } from "./archive-input.ts";
import { extractArchive } from "./extract.ts";
import type { Control } from "./transfer.ts";

/**
 * The files that LXC and Incus make anew in each instance of an image: metadata.yaml says which, templates/ has them. Of what
 * they may say berth knows the name of the instance, which is what its host name and hosts file are made of.
 */

export interface Template {
  /** In the tree. */
  readonly path: string;
  /** In templates/. */
  readonly file: string;
}

/** Bytes. */
const METADATA_MAX = 256 << 10;
/** Before and after it is rendered: it is handed over as one word, of which the kernel takes no more than 128 KiB. */
const TEMPLATE_MAX = 64 << 10;
const APPLIED = ["/etc/hostname", "/etc/hosts"];

/** @throws BerthError */
export async function applyTemplates(tree: string, metadata: string, name: string, control: Control): Promise<void> {
  for (const { path, text } of readTemplates(metadata, name, control)) {
    const script = `
      [ -d "/tree\${1%/*}" ] && [ ! -L "/tree\${1%/*}" ]
      rm -f "/tree$1"
      with_capabilities +dac_override,+fowner sh -c 'printf %s "$2" >"$1"; chmod 0644 "$1"' sh "/tree$1" "$2"
    `;
    const options = { directory: tree, writable: true, signal: control.signal };
    const { ok } = await runConfined(script, [path, text], options);
    if (!ok) logLeft(path, control);
  }
}

/** Unpacks an archive of metadata into a new directory of the workspace, and returns that. */
export async function unpackMetadata(path: string, workspace: string, { signal, log }: Control): Promise<string> {
  const directory = join(workspace, "metadata");
  await mkdir(directory, { mode: 0o700 });
  using archive = openArchiveFile(path);
  await extractArchive(await archive.input(signal), directory, { signal, onLine: (line) => log(line) });
  return directory;
}

interface Rendered {
  readonly path: string;
  readonly text: string;
}

function logLeft(path: string, { log }: Control): void {
  log(`left as it is in the image: ${printable(path)}, which its template would write anew`);
}

function readTemplates(metadata: string, name: string, control: Control): readonly Rendered[] {
  const root = new InRoot(metadata);
  try {
    const text = root.readFile("metadata.yaml", METADATA_MAX)?.toString("utf8");
    if (text === undefined) return [];
    return templatesIn(text).flatMap(({ path, file }) => {
      const source = APPLIED.includes(path)
        ? root.readFile(`templates/${file}`, TEMPLATE_MAX)?.toString("utf8")
        : undefined;
      const rendered = source === undefined || checkHostname(name) !== undefined ? undefined : render(source, name);
      if (rendered === undefined) logLeft(path, control);
      return rendered === undefined ? [] : [{ path, text: rendered }];
    });
  } finally {
    root.close();
  }
}

/** Undefined: it asks for more than the name, or is too large with that. */
export function render(source: string, name: string): string | undefined {
  const text = source.replace(/\{\{\s*(container|instance)\.name\s*\}\}/g, name);
  const fits = Buffer.byteLength(text) <= TEMPLATE_MAX;
  return fits && !/\{[{%]/.test(text) && !text.includes("\0") ? text : undefined;
}

/** Those of its `templates:`, in YAML as distrobuilder writes it; what is written otherwise has none. Of a path's the last counts. */
export function templatesIn(metadata: string): readonly Template[] {
  const lines = metadata.split("\n");
  const begin = lines.findIndex((line) => /^templates:\s*$/.test(line));
  const found = new Map<string, string>();
  let depth: number | undefined;
  let path: string | undefined;
  for (const line of begin < 0 ? [] : lines.slice(begin + 1)) {
    if (/^[^\s#]/.test(line)) break;
    const indent = /^ +(?=[^\s#])/.exec(line)?.[0].length;
    if (indent === undefined) continue;
    depth ??= indent;
    if (indent === depth) path = /^ {2,8}["']?(\/[\w./-]{1,200})["']?:\s*$/.exec(line)?.[1];
    const file = /^\s+template:\s*["']?([\w.-]{1,100})["']?\s*$/.exec(line)?.[1];
    if (path !== undefined && file !== undefined) found.set(path, file);
  }
  return [...found].map(([path, file]) => ({ path, file }));
}
