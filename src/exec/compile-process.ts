import { PER_LINUX, PER_LINUX32, PR_SET_NO_NEW_PRIVS } from "../sys/constants.ts";
import type { Compilers } from "./compilation.ts";
import { setLimits } from "./compile-keeper.ts";

type Kinds = "set-personality" | "set-affinity" | "change-directory" | "set-limit" | "no-new-privileges";

/** What settings change about the payload's own process. */
export const PROCESS: Compilers<Kinds> = {
  "set-personality": ({ bits }, c) => {
    c.asm.call(c.init, "personality", [bits === 32 ? PER_LINUX32 : PER_LINUX]);
  },

  "set-affinity": ({ cpus }, c) => {
    const mask = Buffer.alloc((((cpus.at(-1) ?? 0) >> 6) + 1) * 8);
    for (const cpu of cpus) mask.writeUInt8(mask.readUInt8(cpu >> 3) | (1 << (cpu & 7)), cpu >> 3);
    c.asm.call(c.init, "sched_setaffinity", [0, mask.length, c.asm.bytes(mask)]);
  },

  "change-directory": ({ path }, c) => {
    c.asm.call(c.init, "chdir", [path]);
  },

  "set-limit": (limit, c) => {
    setLimits(c, c.init, [limit]);
  },

  "no-new-privileges": (_, c) => {
    c.asm.call(c.init, "prctl", [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0]);
  },
};
