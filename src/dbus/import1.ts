import { type Interface, method, property, signal } from "../bus/interface.ts";
import type { ObjectServer } from "../bus/object-server.ts";
import { authorise } from "../bus/polkit.ts";
import type { ImageInfo } from "../image/image.ts";
import type { ImageStore } from "../image/store.ts";
import type { Transfer } from "../transfer/transfer.ts";
import type { Transfers } from "../transfer/transfers.ts";
import { invalid } from "./access.ts";
import { MACHINE, requireClass, requireFlags, STARTED, transferMethods } from "./import1-transfers.ts";
import { bytes, microseconds } from "./machine1-images.ts";
import { IMPORT1, IMPORT1_PATH, transferPath } from "./places.ts";

const OPEN = { unprivileged: true } as const;

/** All of org.freedesktop.import1, and its signals. */
export function exportImport1(server: ObjectServer, transfers: Transfers, store: ImageStore): void {
  const manager = import1Manager(transfers, store);
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
export function import1Interfaces(transfers: Transfers, store: ImageStore): readonly Interface[] {
  return [import1Manager(transfers, store), transferInterface(NO_TRANSFER)];
}

const NO_TRANSFER: TransferView = {
  ...{ id: 0, type: "import-tar", local: "", remote: "", verify: "no", progress: 0 },
  cancel: () => undefined,
};

type ImageRow = [
  imageClass: string,
  ...[name: string, type: string, path: string, readOnly: boolean],
  ...[created: bigint, modified: bigint],
  ...[usage: bigint, usageExclusive: bigint, limit: bigint, limitExclusive: bigint],
];

function imageRow(image: ImageInfo): ImageRow {
  const { name, type, path, readOnly } = image;
  const times = [microseconds(image.created), microseconds(image.modified)] as const;
  const usage = [bytes(image.usage), bytes(image.usageExclusive)] as const;
  return [MACHINE, name, type, path, readOnly, ...times, ...usage, bytes(image.limit), bytes(image.limitExclusive)];
}

type TransferView = Pick<Transfer, "id" | "type" | "local" | "remote" | "verify" | "progress" | "cancel">;

/** org.freedesktop.import1.Manager. */
function import1Manager(transfers: Transfers, store: ImageStore): Interface {
  return {
    name: `${IMPORT1}.Manager`,
    methods: {
      ...transferMethods(transfers),
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
      ListTransfersEx: method({
        ...OPEN,
        in: "st",
        out: "a(ussssdo)",
        inNames: ["class", "flags"],
        outNames: ["transfers"],
        handler(_, imageClass, flags) {
          requireFlags(flags, 0n);
          if (imageClass !== "") requireClass(imageClass);
          if (imageClass !== "" && imageClass !== MACHINE) return [];
          return transfers
            .list()
            .map(({ id, type, remote, local, progress }): [number, string, string, string, string, number, string] => [
              id,
              type,
              remote,
              local,
              MACHINE,
              progress,
              transferPath(id),
            ]);
        },
      }),
      CancelTransfer: method({
        ...OPEN,
        in: "u",
        out: "",
        inNames: ["transfer_id"],
        async handler(call, id) {
          await authorise(call, `${IMPORT1}.pull`);
          if (id === 0) throw invalid("Invalid transfer id");
          transfers.cancel(id);
        },
      }),
      ListImages: method({
        ...OPEN,
        in: "st",
        out: "a(ssssbtttttt)",
        inNames: ["class", "flags"],
        outNames: ["images"],
        handler(_, imageClass, flags) {
          requireFlags(flags, 0n);
          if (imageClass !== "") requireClass(imageClass);
          return imageClass === "" || imageClass === MACHINE ? store.list().map(imageRow) : [];
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
