import { cp, mkdir, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/** Makes `directory`/tool and what the view of it needs (confine-tool.ts). */
export async function makeToolDirectory(directory: string): Promise<void> {
  for (const name of ["tool", "tool/home", "tool/keys", "tool/none", "tool/log", "tool/cache"])
    await mkdir(join(directory, name), { recursive: true, mode: 0o755 });
  await mkdir(join(directory, "tool/tmp"), { recursive: true });
}

export async function removeToolDirectory(directory: string): Promise<void> {
  await rm(join(directory, "tool"), { recursive: true, force: true });
}

export async function writeToolFile(directory: string, name: string, text: string | Buffer): Promise<void> {
  const path = join(directory, "tool", name);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
}

/** A keyring, or a directory of keys: what is in one is beside the others. */
export async function copyKeyring(directory: string, keyring: string): Promise<void> {
  await cp(keyring, join(directory, "tool/keys", basename(keyring)), { recursive: true, dereference: true });
}
