import { closeSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Faces } from "../dbus/faces.ts";
import { BerthError } from "../errors.ts";
import { lockWithPid } from "../exec/lock-file.ts";
import { bootId } from "../host/boot-id.ts";
import { berthVersion } from "../host/installation.ts";
import { type Paths, rootOf } from "../host/paths.ts";
import { Applies } from "../manager/applies.ts";
import { Autostart } from "../manager/autostart.ts";
import { ImageSnapshots } from "../manager/image-snapshots.ts";
import { Loads, runningOf } from "../manager/loads.ts";
import { Manager, type ManagerOptions } from "../manager/manager.ts";
import { type DaemonStatus, EXIT_BUSY, LOCK, SOCKET } from "../manager/protocol.ts";
import { ThrowAways } from "../manager/throw-aways.ts";
import { DaemonEnds } from "../manager/when-ready.ts";
import { selfTest } from "../sys/poll.ts";
import { becomeSubreaper } from "../sys/processes.ts";
import type { Transfer } from "../transfer/transfer.ts";
import type { Transfers } from "../transfer/transfers.ts";
import type { Images } from "./images.ts";
import type { DaemonLog, Logger } from "./log.ts";
import type { Daemon } from "./methods.ts";
import { ServiceManager } from "./service.ts";
import { SocketServer } from "./socket-server.ts";
import { Tidy } from "./tidy.ts";

/** The daemon of one root: its lock, its manager and its faces, from start to end. */
export class Berthd implements Daemon {
  readonly paths: Paths;
  readonly manager: Manager;
  readonly autostart: Autostart;
  readonly loads: Loads;
  readonly applies: Applies;
  readonly snapshots: ImageSnapshots;
  readonly throwAways: ThrowAways;
  readonly #log: Logger;
  readonly #daemonLog: DaemonLog;
  readonly #service: ServiceManager;
  readonly #ended = Promise.withResolvers<void>();
  readonly #lock: number;
  readonly #tidy = new Tidy();
  readonly #env: NodeJS.ProcessEnv;
  #server: SocketServer | undefined;
  #images: Promise<Images> | undefined;
  /** Null: there is no bus. */
  #bus: Promise<Faces | null> = Promise.resolve(null);
  #starting: Promise<void> = Promise.resolve();
  #ending = false;
  readonly #ends = new AbortController();
  readonly #bootId = bootId();
  readonly #tell: ManagerOptions["log"];

  /** @throws BerthError when there is one already */
  constructor(paths: Paths, env: NodeJS.ProcessEnv, daemonLog: DaemonLog) {
    const { log } = daemonLog;
    this.paths = paths;
    this.#log = log;
    this.#daemonLog = daemonLog;
    this.#env = env;
    this.#service = new ServiceManager(env);
    this.#lock = takeLock(paths);
    this.#tell = (level, machine, line) => log[level](machine === null ? {} : { machine }, line);
    this.manager = new Manager({ paths, bootId: this.#bootId, log: this.#tell });
    this.applies = new Applies(this.manager, this.#tell);
    this.loads = new Loads(() => runningOf(this.manager));
    this.snapshots = new ImageSnapshots(this.manager);
    this.throwAways = new ThrowAways(this.manager);
    this.autostart = new Autostart(this.manager, this.#tell);
  }

  /** Resolves when clients are served. */
  start(): Promise<void> {
    this.#starting = this.#start();
    return this.#starting;
  }

  async #start(): Promise<void> {
    becomeSubreaper(); // of the machine whose keeper is killed, the init comes to us
    await selfTest();
    await this.manager.open();
    this.throwAways.sweep();
    this.applies.resume();
    this.manager.on("machine", () => this.#tidy.busy());
    this.#tidy.busy();
    this.#server = new SocketServer(this.#socket, this, this.#log);
    const { count } = this.manager;
    this.#log.info(`berthd ${berthVersion()} serves ${this.paths.machines} at ${this.#socket}; machines: ${count}`);
    this.#bus = this.#openBus();
    void this.#bus.then(() => {
      if (!this.#ending) this.#service.ready(`${this.manager.count} machines`);
    });
    this.#startEnabled();
  }

  /** Nobody waits for it; what fails is in the log, and shown as failed. */
  #startEnabled(): void {
    this.autostart
      .run(this.#bootId, this.#ends.signal)
      .catch((error: Error) => this.#log.error(`what is enabled could not be started: ${error.message}`));
  }

  /** Its code is loaded when clients are served already, who need none of it. */
  async #openBus(): Promise<Faces | null> {
    await new Promise(setImmediate);
    try {
      const images = await this.#openImages();
      const { openFaces } = await import("./open-faces.ts");
      const faces = await openFaces(this, images, this.#env, this.#daemonLog, () => this.#tidy.busy());
      this.#log.info(`berthd is on the bus at ${faces.address}`);
      this.#tidy.busy();
      return faces;
    } catch (error) {
      this.#log.warn(`there is no bus: ${error instanceof Error ? error.message : String(error)}`);
      return null;
    }
  }

  async #openImages(): Promise<Images> {
    this.#images ??= import("./images.ts").then(({ openImages }) => {
      const images = openImages(this.paths, this.#log);
      images.transfers.on("removed", () => this.#tidy.busy());
      return images;
    });
    return this.#images;
  }

  async transfers(): Promise<Transfers> {
    return (await this.#openImages()).transfers;
  }

  /** Resolves when it has ended. */
  ended(): Promise<void> {
    return this.#ended.promise;
  }

  async status(): Promise<DaemonStatus> {
    return {
      pid: process.pid,
      bus: (await this.#bus)?.address ?? null,
      socket: this.#socket,
      root: rootOf(this.paths),
      version: berthVersion(),
      machines: this.manager.count,
    };
  }

  async quit(machines: boolean, timeout: number | null): Promise<readonly Transfer[]> {
    if (machines) {
      this.#ends.abort(new DaemonEnds()); // nothing that is enabled is started meanwhile
      await this.manager.powerOffAll(timeout);
    }
    const images = await this.#images?.catch(() => undefined);
    // Not before the answer is on its way.
    setImmediate(() => this.end());
    return images?.transfers.list() ?? [];
  }

  /** Machines go on. */
  end(): void {
    if (this.#ending) return;
    this.#ending = true;
    this.#ends.abort(new DaemonEnds());
    this.#service.stopping();
    this.#close().then(this.#ended.resolve, this.#ended.reject);
  }

  async #close(): Promise<void> {
    // Told to end before it serves, it has the lock until it does.
    await this.#starting.catch(() => undefined);
    rmSync(this.#socket, { force: true });
    await this.#server?.refuse();
    const images = await this.#images?.catch(() => undefined);
    await images?.transfers.close(new DaemonEnds());
    await (await this.#bus)?.close();
    await images?.store.written();
    this.applies.close();
    await this.manager.close();
    closeSync(this.#lock);
    this.#log.info("berthd ends; its machines go on");
    // Last: to a client the end of its connection says that there is no daemon any more.
    await this.#server?.close();
  }

  get #socket(): string {
    return join(this.paths.run, SOCKET);
  }
}

/** One daemon a root: a lock of the kernel's, so that nothing is left of one that was killed. The pid is for people. */
function takeLock({ run }: Paths): number {
  mkdirSync(run, { recursive: true, mode: 0o755 });
  const path = join(run, LOCK);
  const lock = lockWithPid(path);
  if (lock === null) {
    const pid = readFileSync(path, "utf8").trim();
    throw new BerthError(`berthd runs already for ${run}: pid ${pid}`, {
      kind: "Busy",
      exitStatus: EXIT_BUSY,
      hint: "berth daemon status says more of it, berth daemon stop ends it",
    });
  }
  return lock;
}
