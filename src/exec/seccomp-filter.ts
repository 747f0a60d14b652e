import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { hash32 } from "../host/hash.ts";
import type { SeccompPolicy } from "../plan/seccomp-policy.ts";
import { systemCallNumbers } from "../sys/libseccomp.ts";
import { randomId } from "../sys/random.ts";
import { assembleFilter, INSTRUCTION_SIZE, MAX_INSTRUCTIONS } from "./seccomp-program.ts";

/** Raise it when the same policy is to give another program, or the file another form. */
const FORMAT = 3;

/**
 * The policy's BPF program, an array of struct sock_filter. It is kept in `cacheDir`/seccomp/HASH.bpf, so that a
 * start reads a small file instead of loading libseccomp and compiling. A file that is damaged, not ours, writable for
 * others or of another policy is compiled anew; a cache that can't be written costs time and nothing else.
 * @throws BerthError when it has to compile and libseccomp is missing
 */
export function loadFilter(
  policy: SeccompPolicy,
  cacheDir: string,
  compile: (policy: SeccompPolicy) => Buffer = compileFilter,
): Buffer {
  const key = keyOf(policy);
  const directory = join(cacheDir, "seccomp");
  const path = join(directory, `${hash32(key).toString(16).padStart(8, "0")}.bpf`);
  const cached = read(path, key);
  if (cached !== undefined) return cached;
  const program = compile(policy);
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    write(path, Buffer.concat([key, program, seal(program)]));
  } catch {
    // The next start compiles again; `berth doctor` is the place to complain about a cache directory.
  }
  return program;
}

/** The same for who starts many machines: the planner gives equal policies the same object, and one is read once. */
export function filterFor(policy: SeccompPolicy, cacheDir: string): Buffer {
  let program = loaded.get(policy);
  if (program === undefined) {
    program = loadFilter(policy, cacheDir);
    loaded.set(policy, program);
  }
  return program;
}

const loaded = new WeakMap<SeccompPolicy, Buffer>();

export function compileFilter(policy: SeccompPolicy): Buffer {
  return assembleFilter(policy, systemCallNumbers);
}

/** Everything the program depends on, and the beginning of its file. The policy's lists take longer than all the rest. */
function keyOf({ key }: SeccompPolicy): Buffer {
  return Buffer.from(`${JSON.stringify([FORMAT, key])}\n`);
}

const SEAL_SIZE = 4;

/** Ends a file: shows that the program before it is whole. */
function seal(program: Buffer): Buffer {
  const sum = Buffer.alloc(SEAL_SIZE);
  sum.writeUInt32LE(hash32(program));
  return sum;
}

/** The program in the file, undefined unless everything about the file is as write() left it. */
function read(path: string, key: Buffer): Buffer | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
  try {
    const { mode, uid, size } = fstatSync(fd);
    const regular = (mode & constants.S_IFMT) === constants.S_IFREG;
    if (!regular || uid !== process.geteuid?.() || (mode & 0o022) !== 0) return undefined;
    if (size > key.length + MAX_INSTRUCTIONS * INSTRUCTION_SIZE + SEAL_SIZE) return undefined;
    const content = readFileSync(fd);
    if (!content.subarray(0, key.length).equals(key)) return undefined;
    const program = content.subarray(key.length, -SEAL_SIZE);
    if (program.length === 0 || program.length % INSTRUCTION_SIZE !== 0) return undefined;
    return content.subarray(-SEAL_SIZE).equals(seal(program)) ? program : undefined;
  } catch {
    return undefined;
  } finally {
    closeSync(fd);
  }
}

/** Under another name first: a reader sees the old file or the new one, after a crash too. */
function write(path: string, content: Buffer): void {
  // Not by pid: two processes in two pid namespaces may have the same one and this directory.
  const temporary = `${path}.${randomId()}`;
  const fd = openSync(temporary, "wx", 0o600);
  try {
    try {
      writeSync(fd, content);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
