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

const SIZE_MAX = 256 << 10;
const APPLIED = ["/etc/hostname", "/etc/hosts"];

/** @throws BerthError */
export async function applyTemplates(tree: string, metadata: string, name: string, control: Control): Promise<void> {
  for (const { path, text } of readTemplates(metadata, name, control)) {
    const script = `
      [ -d "/tree\${1%/*}" ] && [ ! -L "/tree\${1%/*}" ] || exit 0
      rm -f "/tree$1"
      with_capabilities +dac_override,+fowner sh -c 'printf %s "$2" >"$1"; chmod 0644 "$1"' sh "/tree$1" "$2"
    `;
    await runConfined(script, [path, text], { directory: tree, writable: true, signal: control.signal });
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

function readTemplates(metadata: string, name: string, { log }: Control): readonly Rendered[] {
  const root = new InRoot(metadata);
  try {
    const text = root.readFile("metadata.yaml", SIZE_MAX)?.toString("utf8");
    if (text === undefined) return [];
    return templatesIn(text).flatMap(({ path, file }) => {
      const source = APPLIED.includes(path)
        ? root.readFile(`templates/${file}`, SIZE_MAX)?.toString("utf8")
        : undefined;
      const rendered = source === undefined || checkHostname(name) !== undefined ? undefined : render(source, name);
      if (rendered === undefined)
        log(`left as it is in the image: ${printable(path)}, which its template would write anew`);
      return rendered === undefined ? [] : [{ path, text: rendered }];
    });
  } finally {
    root.close();
  }
}

/** Undefined: it asks for more than the name. */
export function render(source: string, name: string): string | undefined {
  const text = source.replace(/\{\{\s*(container|instance)\.name\s*\}\}/g, name);
  return /\{[{%]/.test(text) || text.includes("\0") ? undefined : text;
}

/** Those of its `templates:`, in YAML as distrobuilder writes it; what is written otherwise has none. */
export function templatesIn(metadata: string): readonly Template[] {
  const lines = metadata.split("\n");
  const begin = lines.findIndex((line) => /^templates:\s*$/.test(line));
  const found: Template[] = [];
  let path: string | undefined;
  for (const line of begin < 0 ? [] : lines.slice(begin + 1)) {
    if (/^[^\s#]/.test(line)) break;
    path = /^ {2,8}["']?(\/[\w./-]{1,200})["']?:\s*$/.exec(line)?.[1] ?? path;
    const file = /^\s+template:\s*["']?([\w.-]{1,100})["']?\s*$/.exec(line)?.[1];
    if (path !== undefined && file !== undefined) found.push({ path, file });
  }
  return found;
}
