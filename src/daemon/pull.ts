import { BerthError } from "../errors.ts";
import type { PullKind, PullResult, TransferView } from "../manager/protocol.ts";
import { proxiesIn, withProxies } from "../transfer/proxies.ts";
import type { ImageFiles, Located } from "../transfer/pull-image.ts";
import type { PullOptions } from "../transfer/pull-tar.ts";
import type { Transfer } from "../transfer/transfer.ts";
import type { NewImage, Transfers } from "../transfer/transfers.ts";
import type { Call } from "./methods.ts";
import { flag, number, object, oneOf, type Params, strings, text } from "./params.ts";

/** A priority of syslog(3): what is less urgent is for who looks into a transfer. */
const WARNING = 4;

/** Begins a download; it goes on whatever becomes of who asked for it, who is told how far it is. */
export async function pull(transfers: Transfers, call: Call<"pull">): Promise<PullResult> {
  const { params, cancelled, event } = call;
  const begin = BEGIN[oneOf(params, "kind", KINDS)];
  const transfer = withProxies(proxiesIn(strings(params, "proxies")), () => begin(transfers, params, newImage(params)));
  const { id } = transfer;
  event({ id });
  if (!flag(params, "wait")) return { id };
  const onProgress = (of: Transfer, progress: number): void => {
    if (of === transfer) event({ progress });
  };
  const onLog = (of: Transfer, priority: number, warning: string): void => {
    if (of === transfer && priority === WARNING) event({ warning });
  };
  const onCancel = (): void => transfer.cancel(cancelled.reason instanceof BerthError ? cancelled.reason : undefined);
  transfers.on("progress", onProgress);
  transfers.on("log", onLog);
  cancelled.addEventListener("abort", onCancel, { once: true });
  try {
    if (cancelled.aborted) onCancel();
    await transfer.done;
    return { id };
  } finally {
    transfers.off("progress", onProgress);
    transfers.off("log", onLog);
    cancelled.removeEventListener("abort", onCancel);
  }
}

type Begin = (transfers: Transfers, params: Params, image: NewImage) => Transfer;

const BEGIN: { readonly [K in PullKind]: Begin } = {
  tar: (transfers, params, image) => transfers.pullTar(text(params, "from"), image, pullOptions(params)),
  raw: (transfers, params, image) => transfers.pullRaw(text(params, "from"), image, pullOptions(params)),
  oci: (transfers, params, image) =>
    transfers.pullOci(text(params, "from"), image, {
      architecture: text(params, "architecture"),
      driver: params["driver"] === null ? null : oneOf(params, "driver", ["directory", "stack"] as const),
      keepDownload: flag(params, "keepDownload"),
    }),
  image: (transfers, params, image) =>
    transfers.pullImage(imageFiles(params), image, flag(params, "keepDownload"), text(params, "from")),
};
const KINDS = Object.keys(BEGIN) as PullKind[];

function pullOptions(params: Params): PullOptions {
  return {
    verify: oneOf(params, "verify", ["no", "checksum", "signature"]),
    keepDownload: flag(params, "keepDownload"),
  };
}

function newImage(params: Params): NewImage {
  const [readOnly, replace] = [flag(params, "readOnly"), flag(params, "replace")];
  // What a command says it has done is on the disk.
  return { name: text(params, "name"), readOnly, replace, sync: true };
}

function imageFiles(params: Params): ImageFiles {
  const files = object(params, "files");
  return {
    metadata: files["metadata"] === null ? null : located(object(files, "metadata")),
    root: located(object(files, "root")),
    format: oneOf(files, "format", ["tar", "combined", "squashfs"]),
    fingerprint: text(files, "fingerprint"),
  };
}

function located(file: Params): Located {
  return { url: text(file, "url"), sha256: text(file, "sha256"), size: number(file, "size", 1, SIZE_MAX) };
}

const SIZE_MAX = 2 ** 40;

/** Who may only look is not told where from: addresses may have secrets in them. */
export function viewTransfer(
  { id, type, local, remote, progress, outcome, verify, log }: Transfer,
  root: boolean,
): TransferView {
  return {
    id,
    type,
    local,
    remote: root ? remote : null,
    progress,
    state: outcome ?? "running",
    verify,
    status: root ? (log.at(-1) ?? null) : null,
  };
}
