import type { SnapshotInfo } from "../image/snapshots/snapshot.ts";
import type { ImageSnapshots, RollbackRequest, RolledBack } from "../manager/image-snapshots.ts";
import type { CopyEvent, RollbackEvent } from "../manager/protocol.ts";
import { DaemonClient } from "./daemon-client.ts";
import { needDaemon } from "./daemon-start.ts";
import { isoTime } from "./image-fields.ts";
import { tell } from "./output.ts";
import type { Context } from "./verb.ts";

/** Snapshots by the daemon where one runs, else made here: nothing of it needs one but a machine that is to boot. */

export async function takeSnapshot(
  context: Context,
  name: string,
  snapshot: string | null,
  comment: string,
  show?: (fraction: number) => void,
): Promise<SnapshotInfo> {
  const { paths, signal } = context;
  const client = await DaemonClient.connect(paths);
  if (client === null) return withOwn(context, (own) => own.take(name, snapshot, comment, { signal, progress: show }));
  try {
    const onEvent = ({ progress }: CopyEvent): void => show?.(progress);
    return await client.call("snapshot", { name, snapshot, comment }, { signal, onEvent });
  } finally {
    client.close();
  }
}

export async function rollBack(
  context: Context,
  request: RollbackRequest,
  show?: (fraction: number) => void,
): Promise<RolledBack> {
  const { paths, env, signal } = context;
  const client = request.restart ? await needDaemon(paths, env) : await DaemonClient.connect(paths);
  if (client === null) return withOwn(context, (own) => own.rollBack(request, { signal, say: tell, progress: show }));
  try {
    const onEvent = (event: RollbackEvent): void => ("said" in event ? tell(event.said) : show?.(event.progress));
    return await client.call("rollback", request, { signal, onEvent });
  } finally {
    client.close();
  }
}

async function withOwn<T>({ paths }: Context, use: (own: ImageSnapshots) => Promise<T>): Promise<T> {
  const [{ Manager }, { ImageSnapshots: Own }] = await Promise.all([
    import("../manager/manager.ts"),
    import("../manager/image-snapshots.ts"),
  ]);
  const manager = new Manager({ paths, bootId: "", log: () => undefined });
  try {
    return await use(new Own(manager));
  } finally {
    await manager.close();
  }
}

/** What is told of a snapshot in JSON. */
export function snapshotFields(snapshot: SnapshotInfo) {
  const { image, name, time, comment, driver, running, frozenMs, replacedBy, berth } = snapshot;
  return { image, name, time: isoTime(time), comment, driver, running, frozenMs, replacedBy, berth };
}
