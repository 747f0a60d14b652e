import { existsSync } from "node:fs";
import { BusLink } from "../bus/bus-link.ts";
import type { Service } from "../bus/bus-policy.ts";
import { type Listeners, ObjectServer } from "../bus/object-server.ts";
import { PrivateBus } from "../bus/private-bus.ts";
import type { Transfers } from "../transfer/transfers.ts";
import { berth1Manager, exportBerth1 } from "./berth1.ts";
import { ExecCalls } from "./berth1-exec.ts";
import { theHost } from "./bus-machine.ts";
import { exportImport1, import1Interfaces } from "./import1.ts";
import { exportLogControl1 } from "./log-control1.ts";
import type { LogControl } from "./log-levels.ts";
import { exportMachine1 } from "./machine1.ts";
import { imageInterface } from "./machine1-images.ts";
import { machineInterface } from "./machine1-machine.ts";
import { managerInterface } from "./machine1-manager.ts";
import { Machines } from "./machines.ts";
import { BERTH1, IMPORT1, MACHINE1, SYSTEMD1 } from "./places.ts";
import { keepRuntimeFiles, RUNTIME_FILES } from "./runtime-files.ts";
import type { Services } from "./services.ts";
import { exportSystemd1, systemd1Interfaces } from "./systemd1.ts";

const SYSTEM_BUS = "/run/dbus/system_bus_socket";
/** Of the root that a host has without being told about another. */
const DEFAULT_RUN = "/run/berth";

export interface FacesOptions extends Omit<Services, "machines">, Listeners {
  readonly env: NodeJS.ProcessEnv;
  readonly transfers: Transfers;
  readonly logControl: LogControl;
}

/** The daemon on a bus: its objects, their names, and the bus itself where that is berth's own. */
export class Faces {
  readonly address: string;
  readonly #link: BusLink;
  readonly #bus: PrivateBus | undefined;
  readonly #machines: Machines;

  private constructor(address: string, link: BusLink, bus: PrivateBus | undefined, machines: Machines) {
    this.#machines = machines;
    this.address = address;
    this.#link = link;
    this.#bus = bus;
  }

  /** Resolves when the names are there to be called. @throws BerthError when there is no bus, and none can be started */
  static async open({
    env,
    transfers,
    logControl,
    onError,
    onAsked,
    onCall,
    onRefusal,
    ...rest
  }: FacesOptions): Promise<Faces> {
    const services: Services = { ...rest, machines: new Machines(rest.manager) };
    const server = new ObjectServer({ onError, onAsked, onCall, onRefusal });
    exportMachine1(server, services);
    exportImport1(server, transfers, services.store);
    exportSystemd1(server, services);
    exportBerth1(server, services);
    const { log, paths } = services;
    exportLogControl1(server, logControl, log);
    const system = systemBus(env, paths.run === DEFAULT_RUN);
    const bus =
      system === undefined
        ? new PrivateBus({ run: paths.run, services: policies(services, transfers), log })
        : undefined;
    await bus?.start();
    const address = system ?? bus?.address ?? "";
    const link = new BusLink({ address, names: namesOn(system, log), server, log });
    await link.start();
    // The host's programs look for machines of the host's own root, and of nobody who does not own that name.
    if (paths.run === DEFAULT_RUN && link.state.names[MACHINE1] === "ours")
      keepRuntimeFiles(services.machines, RUNTIME_FILES, log);
    return new Faces(address, link, bus, services.machines);
  }

  /** One of berth's own ends too. */
  async close(): Promise<void> {
    await this.#link.stop();
    await this.#bus?.stop();
    this.#machines.registered.close();
  }
}

/** The one that is asked for, or the host's, which is for the host's own root; undefined: there is none. */
function systemBus(env: NodeJS.ProcessEnv, isDefault: boolean): string | undefined {
  return (
    env["DBUS_SYSTEM_BUS_ADDRESS"] || (isDefault && existsSync(SYSTEM_BUS) ? `unix:path=${SYSTEM_BUS}` : undefined)
  );
}

/** Where systemd runs the host its own daemons have those names, or are started when somebody calls them. */
function namesOn(system: string | undefined, log: (line: string) => void): readonly string[] {
  if (system === undefined || !existsSync("/run/systemd/system")) return [MACHINE1, IMPORT1, SYSTEMD1, BERTH1];
  log(`${MACHINE1} is systemd-machined's on this host: machinectl does not see berth's machines, berth list does`);
  return [BERTH1];
}

/** Who may call what: for a bus of berth's own, and for the files in units/. */
export function policies(services: Services, transfers: Transfers): readonly Service[] {
  const host = theHost();
  return [
    {
      name: MACHINE1,
      interfaces: [
        managerInterface(services),
        machineInterface(host, services),
        imageInterface(services.store.get(host.name), services),
      ],
    },
    { name: IMPORT1, interfaces: import1Interfaces(transfers, services.store) },
    { name: SYSTEMD1, interfaces: systemd1Interfaces(services) },
    { name: BERTH1, interfaces: [berth1Manager(services, new ExecCalls(services))] },
  ];
}
