import { BerthError } from "../errors.ts";
import { visible } from "../spec/quote.ts";
import type { Transfer, TransferType } from "../transfer/transfer.ts";
import type { Transfers } from "../transfer/transfers.ts";
import { say } from "./output.ts";
import { startProgress } from "./progress.ts";
import type { Context } from "./verb.ts";

const LABELS: Readonly<Record<TransferType, string>> = {
  "import-tar": "importing",
  "import-raw": "importing",
  "import-fs": "importing",
  "export-tar": "exporting",
  "export-raw": "exporting",
  "pull-tar": "downloading",
  "pull-raw": "downloading",
  "pull-oci": "downloading",
};

/** syslog(3): what is less than a warning is for who looks into a transfer. */
const WARNING = 4;

/** Shows how far a transfer is until it ends; ^C cancels it. @throws what it failed with */
export async function followTransfer(transfers: Transfers, transfer: Transfer, context: Context): Promise<void> {
  const { signal, fancy, env } = context;
  const warnings: string[] = [];
  const progress = fancy ? startProgress(process.stderr, { fancy, title: transfer.local, env }) : undefined;
  const show = (): void => {
    const { progress: fraction, type } = transfer;
    progress?.update({ label: LABELS[type], fraction: fraction === 0 ? null : fraction });
  };
  transfers.on("progress", show);
  transfers.on("log", (_, priority, line) => {
    if (priority === WARNING) warnings.push(line);
  });
  const cancel = (): void => transfer.cancel(interrupted(transfer));
  signal.addEventListener("abort", cancel, { once: true });
  if (signal.aborted) cancel();
  try {
    show();
    await transfer.done;
  } finally {
    progress?.end();
  }
  for (const line of warnings) say(`${visible(line)}\n`);
}

function interrupted({ type, local }: Transfer): BerthError {
  return new BerthError(`${LABELS[type]} ${local} was interrupted`, { exitStatus: 130 });
}
