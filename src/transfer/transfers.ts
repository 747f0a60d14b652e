import { EventEmitter } from "node:events";
import { BerthError } from "../errors.ts";
import type { ImageStore } from "../image/store.ts";
import { requireName } from "../spec/name.ts";
import { closeQuietly } from "../sys/files.ts";
import type { Compression } from "./compression.ts";
import type { ImageFiles } from "./pull-image.ts";
import type { OciOptions } from "./pull-oci.ts";
import type { PullOptions } from "./pull-tar.ts";
import { Transfer, type TransferEvents, type TransferFacts, type Work } from "./transfer.ts";
import { requireUrl, showUrl } from "./url.ts";

export interface NewImage {
  readonly name: string;
  readonly readOnly: boolean;
  /** In place of an image of that name. */
  readonly replace: boolean;
  /** It is to be on the disk when the transfer ends, also where the store would let it come there soon after. */
  readonly sync?: boolean;
}

const ENDED_LENGTH = 32;

/**
 * The transfers of one root that are going on; who owns it hears of each. They work while nobody waits for them, and end
 * with this process. Fds given to it are closed by it. What does the work is loaded when there is some: most daemons never have any.
 */
export class Transfers extends EventEmitter<TransferEvents> {
  readonly #store: ImageStore;
  readonly #running = new Map<number, Transfer>();
  readonly #ended: Transfer[] = [];
  #last = 0;

  constructor(store: ImageStore) {
    super();
    this.#store = store;
  }

  list(): readonly Transfer[] {
    return [...this.#running.values()];
  }

  /** The last ones that have ended, the oldest first: who did not wait learns from them what became of it. */
  ended(): readonly Transfer[] {
    return this.#ended;
  }

  /** @throws BerthError of kind NoSuchTransfer */
  get(id: number): Transfer {
    const transfer = this.#running.get(id);
    if (transfer !== undefined) return transfer;
    throw new BerthError(`no transfer ${id}`, { hint: "it may have ended", kind: "NoSuchTransfer" });
  }

  cancel(id: number): void {
    this.get(id).cancel();
  }

  /** Of an archive in a file, or from a pipe. `remote`: where it comes from, as text. */
  importTar(fd: number, image: NewImage, remote = ""): Transfer {
    const work: Work = async (control) => (await import("./import.ts")).importTar(this.#store, fd, image, control);
    return this.#start({ type: "import-tar", local: image.name, remote, verify: "no" }, work, fd);
  }

  /** Of a disk image in a file, or from a pipe. */
  importRaw(fd: number, image: NewImage, remote = ""): Transfer {
    const work: Work = async (control) => (await import("./import-raw.ts")).importRaw(this.#store, fd, image, control);
    return this.#start({ type: "import-raw", local: image.name, remote, verify: "no" }, work, fd);
  }

  /** Of a directory. */
  importFs(fd: number, image: NewImage, remote = ""): Transfer {
    const work: Work = async (control) =>
      (await import("./import.ts")).importDirectory(this.#store, fd, image, control);
    return this.#start({ type: "import-fs", local: image.name, remote, verify: "no" }, work, fd);
  }

  exportTar(name: string, fd: number, compression: Compression, remote = ""): Transfer {
    const work: Work = async (control) =>
      (await import("./export-tar.ts")).exportTar(this.#store, name, fd, compression, control);
    return this.#start({ type: "export-tar", local: name, remote, verify: "no" }, work, fd);
  }

  exportRaw(name: string, fd: number, compression: Compression, remote = ""): Transfer {
    const work: Work = async (control) =>
      (await import("./export-raw.ts")).exportRaw(this.#store, name, fd, compression, control);
    return this.#start({ type: "export-raw", local: name, remote, verify: "no" }, work, fd);
  }

  /** @throws UsageError, before there is a transfer, when that is no address */
  pullTar(url: string, image: NewImage, options: PullOptions): Transfer {
    const remote = showUrl(requireUrl(url));
    const work: Work = async (control) =>
      (await import("./pull-tar.ts")).pullTar(this.#store, url, image, options, control);
    const { verify } = options;
    return this.#start({ type: "pull-tar", local: image.name, remote, url, verify }, work);
  }

  /** As pullTar, of a disk image. */
  pullRaw(url: string, image: NewImage, options: PullOptions): Transfer {
    const remote = showUrl(requireUrl(url));
    const work: Work = async (control) =>
      (await import("./pull-tar.ts")).pullTar(this.#store, url, image, options, control, "raw");
    const { verify } = options;
    return this.#start({ type: "pull-raw", local: image.name, remote, url, verify }, work);
  }

  /** Of an image server; `remote`: what it was asked for. */
  pullImage(files: ImageFiles, image: NewImage, keepDownload: boolean, remote: string): Transfer {
    const work: Work = async (control) =>
      (await import("./pull-image.ts")).pullImage(this.#store, files, image, keepDownload, control);
    return this.#start({ type: "pull-tar", local: image.name, remote, verify: "checksum" }, work);
  }

  /** Of a registry. */
  pullOci(reference: string, image: NewImage, options: OciOptions): Transfer {
    const work: Work = async (control) =>
      (await import("./pull-oci.ts")).pullOci(this.#store, reference, image, options, control);
    return this.#start({ type: "pull-oci", local: image.name, remote: reference, verify: "checksum" }, work);
  }

  /** Ends all of them, and resolves when nothing is left of any. */
  async close(reason: BerthError): Promise<void> {
    const running = this.list();
    for (const transfer of running) transfer.cancel(reason);
    await Promise.allSettled(running.map(({ done }) => done));
  }

  /** @throws BerthError, before there is a transfer, when no image can have that name */
  #start(facts: TransferFacts, work: Work, fd?: number): Transfer {
    if (!facts.type.startsWith("export-")) requireName(facts.local);
    else this.#store.requireImageName(facts.local);
    const transfer = new Transfer(++this.#last, facts, this, async (control) => {
      try {
        await work(control);
      } finally {
        this.#running.delete(transfer.id);
        this.#ended.push(transfer);
        if (this.#ended.length > ENDED_LENGTH) this.#ended.shift();
        if (fd !== undefined) closeQuietly(fd);
      }
    });
    this.#running.set(transfer.id, transfer);
    return transfer;
  }
}
