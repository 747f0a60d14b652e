import { SysError } from "./errno.ts";
import { bind, bindThreaded, pinned } from "./libc.ts";

const actionsInit = bind("int posix_spawn_file_actions_init(void *actions)");
const actionsDestroy = bind("int posix_spawn_file_actions_destroy(void *actions)");
const actionsDup2 = bind("int posix_spawn_file_actions_adddup2(void *actions, int fd, int target)");
const attributesInit = bind("int posix_spawnattr_init(void *attributes)");
const attributesDestroy = bind("int posix_spawnattr_destroy(void *attributes)");
const setFlags = bind("int posix_spawnattr_setflags(void *attributes, short flags)");
const setDefaultSignals = bind("int posix_spawnattr_setsigdefault(void *attributes, void *set)");
const setSignalMask = bind("int posix_spawnattr_setsigmask(void *attributes, void *set)");
const SPAWN =
  "int posix_spawn(_Out_ int *pid, const char *path, void *actions, void *attributes, const char **argv, const char **envp)";
const spawnCall = bind(SPAWN);
const spawnInThread = bindThreaded(SPAWN);

// spawn.h of glibc
const SIZE_OF_ACTIONS = 128; // 80 in glibc 2.36 on both architectures; room for a later one
const SIZE_OF_ATTRIBUTES = 512; // 336
const POSIX_SPAWN_SETSIGDEF = 0x04;
const POSIX_SPAWN_SETSIGMASK = 0x08;
const SIZE_OF_SIGSET = 128;

/** [ours, its number in the child] */
type ChildFds = readonly (readonly [number, number])[];

/**
 * posix_spawn(3): glibc makes it from clone(CLONE_VM | CLONE_VFORK), so nothing of Node's memory is copied and no
 * JavaScript runs in between. The child has every signal at its default and none blocked (Node ignores SIGPIPE and
 * SIGXFSZ), an empty environment, and besides `fds` only what is not close-on-exec. Returns its pid.
 *
 * `fds` are [ours, its number in the child] and are handled in this order, so no target may be a later source.
 */
export function spawnProcess(path: string, argv: readonly string[], fds: ChildFds): number {
  using how = prepare(fds);
  const pid = [0];
  must(spawnCall(pid, path, how.actions, how.attributes, [...argv, null], [null]), "posix_spawn", path);
  return pid[0] as number;
}

/** The same by another thread: the caller's is held up until the child has been executed, for which it waits its turn of a busy CPU. */
export async function spawnAside(path: string, argv: readonly string[], fds: ChildFds): Promise<number> {
  using how = prepare(fds);
  const pid = [0];
  const words = [...argv, null];
  must(
    await spawnInThread("posix_spawn", { path }, pid, path, how.actions, how.attributes, words, [null]),
    "posix_spawn",
    path,
  );
  return pid[0] as number;
}

interface Preparation extends Disposable {
  readonly actions: Buffer;
  readonly attributes: Buffer;
}

function prepare(fds: ChildFds): Preparation {
  const actions = pinned(SIZE_OF_ACTIONS);
  const attributes = pinned(SIZE_OF_ATTRIBUTES);
  const all = pinned(SIZE_OF_SIGSET).fill(0xff);
  const none = pinned(SIZE_OF_SIGSET);
  must(actionsInit(actions), "posix_spawn_file_actions_init");
  must(attributesInit(attributes), "posix_spawnattr_init");
  const destroy = (): void => {
    actionsDestroy(actions);
    attributesDestroy(attributes);
  };
  try {
    for (const [ours, target] of fds) must(actionsDup2(actions, ours, target), "posix_spawn_file_actions_adddup2");
    must(setDefaultSignals(attributes, all), "posix_spawnattr_setsigdefault");
    must(setSignalMask(attributes, none), "posix_spawnattr_setsigmask");
    must(setFlags(attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK), "posix_spawnattr_setflags");
    return { actions, attributes, [Symbol.dispose]: destroy };
  } catch (error) {
    destroy();
    throw error;
  }
}

/** The posix_spawn family returns the errno instead of setting it. */
function must(result: number, call: string, path?: string): void {
  if (result !== 0) throw new SysError(call, result, path === undefined ? {} : { path });
}
