/** What src/exec and src/stage/stage.c have to agree on; MAGIC changes with it. */

/** Spells "Vberth01" little-endian. */
export const MAGIC = 0x3130687472656256n;

/** The stage's end of its socket to the host, and the number that the first fd gets which is handed over. */
export const STATUS_FD = 3;
export const FIRST_FD = 4;
/** Bytes of a stage's argv[0], for its title. */
export const TITLE_SIZE = 96;

/** fds the keeper lives with, by the names the host steps gave them. */
export const KEPT_FDS = ["record", "directory", "log", "mirror", "name-lock", "range-lock"] as const;

/** struct image of stage.c, in 64-bit words. */
export const HEADER_WORDS = 9 + KEPT_FDS.length + 8;

/**
 * First words of messages. Below SYNC: a program reports a failure (program, operation, result). SYNC + number: a sync
 * point. The others are the keeper's: the payload has been executed; it has ended (si_code and si_status of waitid(2)).
 */
export const SYNC = 0x100;
export const EXECUTED = 0x200;
export const EXITED = 0x201;
