import { setTimeout as sleep } from "node:timers/promises";
import { openFileSystem } from "../sys/sync-fs.ts";

/** ms. What is done sooner gains nothing by it. */
const DELAY = 50;
/** ms between the end of one writing and the next: all of what came meanwhile is a batch. */
const PAUSE = 10;

/**
 * Runs `work`, which fills `directory`; what it has written goes to the disk meanwhile, so that little is left for the sync that
 * a new image has to wait for. The kernel itself would begin after 5 to 30 seconds.
 * @throws what `work` throws; else what failed to be written, of which a later sync would not tell
 */
export async function writeBeside<T>(directory: string, work: () => Promise<T>): Promise<T> {
  const over = new AbortController();
  const writing = writeUntil(directory, over.signal).then(
    () => null,
    (error: unknown) => ({ error }),
  );
  const result = await work()
    .finally(() => over.abort())
    .catch(async (error: unknown) => {
      await writing;
      throw error;
    });
  const failed = await writing;
  if (failed !== null) throw failed.error;
  return result;
}

async function writeUntil(directory: string, over: AbortSignal): Promise<void> {
  using fileSystem = openFileSystem(directory);
  const pause = (ms: number): Promise<unknown> => sleep(ms, undefined, { signal: over }).catch(() => undefined);
  for (await pause(DELAY); !over.aborted; await pause(PAUSE)) await fileSystem.sync();
}
