import type { Program } from "../stage/assembler.ts";
import {
  AT_FDCWD,
  LINUX_CAPABILITY_VERSION_3,
  O_WRONLY,
  PER_LINUX,
  PER_LINUX32,
  PR_CAP_AMBIENT,
  PR_CAP_AMBIENT_RAISE,
  PR_SET_DUMPABLE,
  PR_SET_KEEPCAPS,
  PR_SET_NO_NEW_PRIVS,
  PR_SET_PDEATHSIG,
  PROC_SUPER_MAGIC,
  RESOLVE_NO_MAGICLINKS,
  SECCOMP_SET_MODE_FILTER,
} from "../sys/constants.ts";
import type { Compilation, Compilers } from "./compilation.ts";
import { type CapabilitySets, capabilityData, setLimits } from "./compile-keeper.ts";
import { u32, wordsOf } from "./structs.ts";
import { stubFilter } from "./stub-filter.ts";

type Kinds =
  | "label-process"
  | "stay-as-init"
  | "set-personality"
  | "set-affinity"
  | "become-user"
  | "change-directory"
  | "set-limit"
  | "no-new-privileges"
  | "raise-ambient";

const CAP_SYS_ADMIN = 21n;
const SIZE_OF_STATFS = 120;
const SIGKILL = 9;
const SIGCHLD = 17;

/** What settings change about the payload's own process. */
export const PROCESS: Compilers<Kinds> = {
  "label-process": ({ context }, c, { phase }) => {
    const { asm } = c;
    const own = phase === "keeper" ? c.keeper : c.init;
    const attribute = asm.register();
    const status = asm.reserve(SIZE_OF_STATFS);
    const how = c.how(O_WRONLY, RESOLVE_NO_MAGICLINKS);
    asm.call(own, "openat2", [AT_FDCWD, "/proc/self/attr/exec", how, 24], { into: attribute });
    asm.call(own, "fstatfs", [attribute, status]);
    asm.pseudo(own, "load", [status], { accept: [PROC_SUPER_MAGIC, PROC_SUPER_MAGIC] });
    const length = Buffer.byteLength(context);
    asm.call(own, "write", [attribute, context, length], { accept: [length, length] });
    asm.call(own, "close", [attribute]);
  },

  /**
   * The child is the payload and goes on. What stays is out of the machine's reach, and has what it takes to pass signals
   * on and to end the machine. The payload leads a session of its own, for a terminal of its own.
   */
  "stay-as-init": ({ capabilities }, c) => {
    const { asm, init, stub } = c;
    const filter = stubFilter(c.arch);
    const program = asm.bytes(wordsOf([filter.length / 8, 0]));
    asm.poke(program, 8, asm.bytes(filter));
    asm.call(stub, "chdir", ["/"]);
    asm.call(stub, "prctl", [PR_SET_DUMPABLE, 0, 0, 0, 0]);
    setCapabilities(c, { effective: capabilities, permitted: capabilities, inheritable: "0" }, stub);
    asm.call(stub, "prctl", [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0]);
    asm.call(stub, "seccomp", [SECCOMP_SET_MODE_FILTER, 0, program]);
    const cloneArguments = asm.words([0, 0, 0, 0, SIGCHLD, 0, 0, 0, 0, 0, 0]);
    asm.pseudo(init, "stay", [cloneArguments, 88, stub], { accept: [0, 0] });
    asm.call(init, "setsid", []);
  },

  "set-personality": ({ bits }, c) => {
    c.asm.call(c.init, "personality", [bits === 32 ? PER_LINUX32 : PER_LINUX]);
  },

  "set-affinity": ({ cpus }, c) => {
    const mask = Buffer.alloc((((cpus.at(-1) ?? 0) >> 6) + 1) * 8);
    for (const cpu of cpus) mask.writeUInt8(mask.readUInt8(cpu >> 3) | (1 << (cpu & 7)), cpu >> 3);
    c.asm.call(c.init, "sched_setaffinity", [0, mask.length, c.asm.bytes(mask)]);
  },

  "become-user": ({ uid, gid, groups, keep, terminal, foreground }, c) => {
    const { asm, init } = c;
    // As a login does it, so that what opens its terminal by name may. The group stays that of terminals.
    if (terminal) asm.call(init, "fchown", [0, uid, -1]);
    asm.call(init, "prctl", [PR_SET_KEEPCAPS, 1, 0, 0, 0]);
    asm.call(init, "setresgid", [gid, gid, gid]);
    asm.call(init, "setgroups", [groups.length, asm.bytes(u32(groups))]);
    asm.call(init, "setresuid", [uid, uid, uid]);
    // What is in effect is what loads a filter, and no more: a directory is entered with the user's own rights.
    const permitted = (BigInt(`0x${keep}`) | (1n << CAP_SYS_ADMIN)).toString(16);
    const effective = (1n << CAP_SYS_ADMIN).toString(16);
    setCapabilities(c, { effective, permitted, inheritable: "0" });
    // After the last change of credentials, which clears it.
    if (foreground) asm.call(init, "prctl", [PR_SET_PDEATHSIG, SIGKILL]);
  },

  "change-directory": ({ path, required }, c) => {
    if (!required) c.asm.call(c.init, "chdir", ["/"]);
    c.asm.call(c.init, "chdir", [path], { lenient: !required });
  },

  "set-limit": (limit, c) => {
    setLimits(c, c.init, [limit]);
  },

  "no-new-privileges": (_, c) => {
    c.asm.call(c.init, "prctl", [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0]);
  },

  /** An ambient capability has to be a permitted and an inheritable one (capabilities(7)). */
  "raise-ambient": ({ mask, capabilities }, c) => {
    const inheritable = capabilities.reduce((bits, number) => bits | (1n << BigInt(number)), 0n).toString(16);
    setCapabilities(c, { effective: mask, permitted: mask, inheritable });
    for (const capability of capabilities)
      c.asm.call(c.init, "prctl", [PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0]);
  },
};

function setCapabilities(c: Compilation, sets: CapabilitySets, program: Program = c.init): void {
  const header = c.asm.bytes(u32([LINUX_CAPABILITY_VERSION_3, 0]));
  c.asm.call(program, "capset", [header, c.asm.bytes(capabilityData(sets))]);
}
