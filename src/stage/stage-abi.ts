/** What src/exec and src/stage/stage.c have to agree on; MAGIC changes with it. */

/** Spells "Vberth04" little-endian. */
export const MAGIC = 0x3430687472656256n;

/** The stage's end of its socket to the host, and the number that the first fd gets which is handed over. */
export const STATUS_FD = 3;
export const FIRST_FD = 4;
/** Bytes of a stage's argv[0], for its title. */
export const TITLE_SIZE = 96;

/** fds the keeper works with, by the names the host steps gave them. */
export const KEPT_FDS = ["record", "directory", "log", "mirror", "name-lock", "notify-socket", "rendezvous"] as const;

/** fds it only holds until it ends, so that nobody else takes what the machine uses. */
export function isHeld(name: string): boolean {
  return name.startsWith("lock:");
}

/** First word of a request for namespaces, spells "ahead"; and how many limits it has room for. */
export const AHEAD = 0x6461656861n;
export const AHEAD_LIMITS = 16;
/** The sync point of its answer: {pid of who holds them, 0} or {-1, negative errno}. */
export const HOLDS = 11;

/** struct image of stage.c, in 64-bit words. */
export const HEADER_WORDS = 10 + KEPT_FDS.length + 11;

/**
 * First words of messages. Below SYNC: a program reports a failure (program, operation, result). SYNC + number: a sync
 * point. The others are the keeper's: the payload has been executed; it has ended (si_code and si_status of waitid(2)).
 */
export const SYNC = 0x100;
export const EXECUTED = 0x200;
export const EXITED = 0x201;

/**
 * What the keeper says to who comes to the rendezvous in its record directory. ATTACHED: KEEPER_VERSION, bits (what
 * init has said while nobody was there to hear it, and which of GREETING_FDS come along). BUSY: there is a host already.
 */
export const ATTACHED = 0x202;
export const BUSY = 0x203;
export const KEEPER_VERSION = 1;
export const SAID_READY = 1;
export const SAID_STOPPING = 2;
/** In this order, bit 2 stands for the first one. */
export const GREETING_FDS = ["leader", "keeper", "record", "name-lock", "notify-socket", "console"] as const;
export const FIRST_GREETING_BIT = 2;

/** What a plan's hand-over names the fd of the whole image, when the stage is given the beginning of it first. */
export const WHOLE = "whole";
