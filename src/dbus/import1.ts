import { type Interface, method, property, signal } from "../bus/interface.ts";
import type { MethodCall } from "../bus/method-call.ts";
import type { ObjectServer } from "../bus/object-server.ts";
import { authorise } from "../bus/polkit.ts";
import { compressionNamed, NONE as UNCOMPRESSED } from "../transfer/compression.ts";
import type { Transfer } from "../transfer/transfer.ts";
import type { NewImage, Transfers } from "../transfer/transfers.ts";
import { invalid, notSupported } from "./access.ts";
import { IMPORT1, IMPORT1_PATH, transferPath } from "./places.ts";

const OPEN = { unprivileged: true } as const;
const STARTED = ["transfer_id", "transfer_path"] as const;
const IMPORT_ARGS = ["fd", "local_name", "force", "read_only"] as const;
const EXPORT_ARGS = ["local_name", "fd", "format"] as const;
const PULL_ARGS = ["url", "local_name", "verify_mode", "force"] as const;
const RAW = "berth does not yet read or write disk images: use tar archives.";

/** All of org.freedesktop.import1, and its signals. */
export function exportImport1(server: ObjectServer, transfers: Transfers): void {
  const manager = import1Manager(transfers);
  server.export(IMPORT1_PATH, [manager]);
  server.addSubtree(`${IMPORT1_PATH}/transfer`, {
    find(element) {
      const id = /^_(\d+)$/.exec(element)?.[1];
      const found = transfers.list().find((each) => String(each.id) === id);
      return found && [transferInterface(found)];
    },
    list: () => transfers.list().map(({ id }) => `_${id}`),
  });
  transfers.on("new", ({ id }) => server.emit(IMPORT1_PATH, manager, "TransferNew", [id, transferPath(id)]));
  transfers.on("removed", ({ id }, outcome) =>
    server.emit(IMPORT1_PATH, manager, "TransferRemoved", [id, transferPath(id), outcome]),
  );
  transfers.on("log", (transfer, priority, line) =>
    server.emit(transferPath(transfer.id), transferInterface(transfer), "LogMessage", [priority, line]),
  );
  transfers.on("progress", (transfer, fraction) =>
    server.emit(transferPath(transfer.id), transferInterface(transfer), "ProgressUpdate", [fraction]),
  );
}

/** All that objects of it may have, for the bus's policy. */
export function import1Interfaces(transfers: Transfers): readonly Interface[] {
  return [import1Manager(transfers), transferInterface(NO_TRANSFER)];
}

const NO_TRANSFER: TransferView = {
  ...{ id: 0, type: "import-tar", local: "", remote: "", verify: "no", progress: 0 },
  cancel: () => undefined,
};

type TransferView = Pick<Transfer, "id" | "type" | "local" | "remote" | "verify" | "progress" | "cancel">;

/** org.freedesktop.import1.Manager. */
function import1Manager(transfers: Transfers): Interface {
  return {
    name: `${IMPORT1}.Manager`,
    methods: {
      ImportTar: importing((fd, image) => transfers.importTar(fd, image)),
      ImportRaw: importing(() => {
        throw notSupported(RAW);
      }),
      ImportFileSystem: importing((fd, image) => transfers.importFs(fd, image)),
      ExportTar: exporting((name, fd, format) =>
        transfers.exportTar(name, fd, format === "" ? UNCOMPRESSED : compressionNamed(format)),
      ),
      ExportRaw: exporting(() => {
        throw notSupported(RAW);
      }),
      PullTar: pulling((url, image, verify) => transfers.pullTar(url, image, verify)),
      PullRaw: pulling(() => {
        throw notSupported(RAW);
      }),
      ListTransfers: method({
        ...OPEN,
        in: "",
        out: "a(usssdo)",
        outNames: ["transfers"],
        handler: () =>
          transfers
            .list()
            .map(({ id, type, remote, local, progress }): [number, string, string, string, number, string] => [
              id,
              type,
              remote,
              local,
              progress,
              transferPath(id),
            ]),
      }),
      CancelTransfer: method({
        ...OPEN,
        in: "u",
        out: "",
        inNames: ["transfer_id"],
        async handler(call, id) {
          await authorise(call, `${IMPORT1}.pull`);
          transfers.cancel(id);
        },
      }),
    },
    signals: {
      TransferNew: signal("uo", STARTED),
      TransferRemoved: signal("uos", [...STARTED, "result"]),
    },
  };
}

/** org.freedesktop.import1.Transfer, of one that is going on. */
function transferInterface(transfer: TransferView): Interface {
  return {
    name: `${IMPORT1}.Transfer`,
    properties: {
      Id: property({ type: "u", emits: "const", read: () => transfer.id }),
      Local: property({ type: "s", emits: "const", read: () => transfer.local }),
      Remote: property({ type: "s", emits: "const", read: () => transfer.remote }),
      Type: property({ type: "s", emits: "const", read: () => transfer.type }),
      Verify: property({ type: "s", emits: "const", read: () => transfer.verify }),
      Progress: property({ type: "d", emits: "false", read: () => transfer.progress }),
    },
    methods: {
      Cancel: method({
        ...OPEN,
        in: "",
        out: "",
        async handler(call) {
          await authorise(call, `${IMPORT1}.pull`);
          transfer.cancel();
        },
      }),
    },
    signals: {
      LogMessage: signal("us", ["priority", "line"]),
      ProgressUpdate: signal("d", ["progress"]),
    },
  };
}

type Started = [id: number, path: string];

/** The caller may have gone by then, who does not care for a transfer that it does not know the number of. */
function started({ id }: Transfer): Started {
  return [id, transferPath(id)];
}

function importing(begin: (fd: number, image: NewImage) => Transfer) {
  return method({
    ...OPEN,
    in: "hsbb",
    out: "uo",
    inNames: IMPORT_ARGS,
    outNames: STARTED,
    async handler(call, _fd, name, replace, readOnly) {
      await authorise(call, `${IMPORT1}.import`);
      return started(begin(takeFd(call), { name, replace, readOnly }));
    },
  });
}

function exporting(begin: (name: string, fd: number, format: string) => Transfer) {
  return method({
    ...OPEN,
    in: "shs",
    out: "uo",
    inNames: EXPORT_ARGS,
    outNames: STARTED,
    async handler(call, name, _fd, format) {
      await authorise(call, `${IMPORT1}.export`);
      return started(begin(name, takeFd(call), format));
    },
  });
}

const VERIFY = ["no", "checksum", "signature"] as const;

function pulling(begin: (url: string, image: NewImage, verify: (typeof VERIFY)[number]) => Transfer) {
  return method({
    ...OPEN,
    in: "sssb",
    out: "uo",
    inNames: PULL_ARGS,
    outNames: STARTED,
    async handler(call, url, name, mode, replace) {
      const verify = mode === "" ? "signature" : VERIFY.find((each) => each === mode);
      if (verify === undefined) throw invalid(`Unknown verification mode ${mode}`);
      await authorise(call, `${IMPORT1}.pull`);
      return started(begin(url, { name, replace, readOnly: false }, verify));
    },
  });
}

/** The one that came along: the transfer's from here on. */
function takeFd(call: MethodCall): number {
  const [fd] = call.takeFds();
  if (fd === undefined) throw invalid("A file descriptor is needed.");
  return fd;
}
