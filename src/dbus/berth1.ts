import { join } from "node:path";
import { type Interface, method, property, signal } from "../bus/interface.ts";
import type { MethodCall } from "../bus/method-call.ts";
import type { ObjectServer } from "../bus/object-server.ts";
import { authorise } from "../bus/polkit.ts";
import { type Variant, variant } from "../bus/values.ts";
import { BerthError } from "../errors.ts";
import { recordsDirectory } from "../machine/places.ts";
import { treeName } from "../machine/throw-away.ts";
import { explain } from "../manager/explain.ts";
import { Launcher } from "../manager/launcher.ts";
import { type MachineView, type Reader, viewFor } from "../manager/machine-view.ts";
import { WAIT_STATES } from "../manager/protocol.ts";
import { planJson } from "../plan/show.ts";
import { consoleTail } from "../supervise/console-log.ts";
import { invalid } from "./access.ts";
import { ExecCalls } from "./berth1-exec.ts";
import { ms, snapshotMethods } from "./berth1-snapshots.ts";
import { BERTH1, BERTH1_PATH } from "./places.ts";
import type { Services } from "./services.ts";
import { whileCalled } from "./while-called.ts";

/** Lines of a console that are told at a time. */
const LINES_MAX = 10_000;
const OPEN = { unprivileged: true } as const;
type View = Readonly<Record<string, Variant>>;

/** All of org.berth.Manager1: what machine1 has no words for. Described in units/dbus/org.berth.Manager1.xml. */
export function exportBerth1(server: ObjectServer, services: Services): void {
  const calls = new ExecCalls(services);
  const manager = berth1Manager(services, calls);
  server.export(BERTH1_PATH, [manager]);
  services.manager.on("machine", ({ type, machine, view }) =>
    // To all who listen, whoever they are.
    server.emit(BERTH1_PATH, manager, "MachineChanged", [
      machine,
      type,
      view === null ? {} : show(viewFor(view, "all")),
    ]),
  );
}

export function berth1Manager(services: Services, calls: ExecCalls): Interface {
  return {
    name: BERTH1,
    properties: {
      Root: property({ type: "s", emits: "const", read: () => services.paths.run }),
      Machines: property({ type: "u", emits: "false", read: () => services.manager.count }),
    },
    methods: { ...looking(services), ...acting(services), ...execution(calls), ...snapshotMethods(services) },
    signals: {
      MachineChanged: signal("ssa{sv}", ["name", "type", "machine"]),
    },
  };
}

/** As on the private socket. */
async function readerOf(call: MethodCall): Promise<Reader> {
  return (await call.credentials()).uid === 0 ? "root" : "all";
}

function looking({ manager, paths }: Services): NonNullable<Interface["methods"]> {
  return {
    ListMachines: method({
      ...OPEN,
      in: "b",
      out: "aa{sv}",
      inNames: ["all"],
      outNames: ["machines"],
      async handler(call, all) {
        const reader = await readerOf(call);
        return manager.list(all).map((view) => show(viewFor(view, reader)));
      },
    }),
    GetMachine: method({
      ...OPEN,
      in: "s",
      out: "a{sv}",
      inNames: ["name"],
      outNames: ["machine"],
      handler: async (call, name) => show(viewFor(manager.view(name), await readerOf(call))),
    }),
    Why: method({
      ...OPEN,
      in: "s",
      out: "sasas",
      inNames: ["name"],
      outNames: ["state", "sentences", "console"],
      async handler(call, name): Promise<[string, readonly string[], readonly string[]]> {
        await allow(call, "manage", name, "why");
        const { state, sentences, console } = await explain(manager.details(name, "root"), paths);
        return [state, sentences, console];
      },
    }),
    Wait: method({
      ...OPEN,
      in: "ss",
      out: "",
      inNames: ["name", "state"],
      handler(call, name, state) {
        const wanted = WAIT_STATES.find((each) => each === state);
        if (wanted === undefined) throw invalid(`A machine can be waited for until it is ${WAIT_STATES.join(", ")}.`);
        return whileCalled(call, (signal) => manager.wait(name, wanted, signal));
      },
    }),
    GetConsole: method({
      ...OPEN,
      in: "su",
      out: "as",
      inNames: ["name", "count"],
      outNames: ["lines"],
      async handler(call, name, count) {
        await allow(call, "manage", name, "console");
        manager.record(name);
        return consoleOf(name, Math.min(count, LINES_MAX));
      },
    }),
    Plan: method({
      ...OPEN,
      in: "s",
      out: "s",
      inNames: ["name"],
      outNames: ["json"],
      async handler(call, name) {
        await allow(call, "manage", name, "plan");
        manager.requireTree(treeName(name, paths));
        const { plan } = await new Launcher(paths)
          .prepare(name)
          .plan({ foreground: false, stdio: "console", term: null });
        return JSON.stringify(planJson(plan));
      },
    }),
    Check: method({
      ...OPEN,
      in: "s",
      out: "as",
      inNames: ["name"],
      outNames: ["problems"],
      async handler(call, name) {
        await allow(call, "manage", name, "check");
        manager.requireTree(treeName(name, paths));
        return problemsOf(name);
      },
    }),
  };

  function consoleOf(name: string, count: number): readonly string[] {
    return consoleTail(join(recordsDirectory(paths), name), count);
  }

  /** Of its settings and its tree, as a start would tell them; none: it could start. */
  function problemsOf(name: string): readonly string[] {
    try {
      new Launcher(paths).prepare(name);
      return [];
    } catch (error) {
      if (error instanceof BerthError && error.kind === undefined) return error.message.split("\n");
      throw error;
    }
  }
}

function acting({ manager, log }: Services): NonNullable<Interface["methods"]> {
  return {
    Start: method({
      ...OPEN,
      in: "st",
      out: "",
      inNames: ["name", "timeout_usec"],
      async handler(call, name, timeout) {
        await allow(call, "manage", name, "start");
        const signal = new AbortController().signal;
        await manager.start(name, { signal, timeout: ms(timeout), say: log, onStatus: () => undefined });
      },
    }),
    PowerOff: method({
      ...OPEN,
      in: "sbt",
      out: "",
      inNames: ["name", "wait", "timeout_usec"],
      async handler(call, name, wait, timeout) {
        await allow(call, "manage", name, "poweroff");
        await manager.powerOff(name, wait, ms(timeout));
      },
    }),
    Reboot: method({
      ...OPEN,
      in: "s",
      out: "",
      inNames: ["name"],
      async handler(call, name) {
        await allow(call, "manage", name, "reboot");
        await manager.reboot(name);
      },
    }),
    Pause: method({ ...OPEN, in: "s", out: "", inNames: ["name"], handler: (call, name) => freeze(call, name, true) }),
    Resume: method({
      ...OPEN,
      in: "s",
      out: "",
      inNames: ["name"],
      handler: (call, name) => freeze(call, name, false),
    }),
    SetProperties: method({
      ...OPEN,
      in: "sas",
      out: "",
      inNames: ["name", "properties"],
      async handler(call, name, properties) {
        await allow(call, "manage", name, "set-property");
        await manager.setProperties(name, properties);
      },
    }),
  };

  async function freeze(call: MethodCall, name: string, frozen: boolean): Promise<void> {
    await allow(call, "manage", name, frozen ? "pause" : "resume");
    await manager.pause(name, frozen);
  }
}

function execution(calls: ExecCalls): NonNullable<Interface["methods"]> {
  return {
    Exec: method({
      ...OPEN,
      in: "sasssashhh",
      out: "u",
      inNames: ["name", "argv", "user", "directory", "environment", "stdin", "stdout", "stderr"],
      outNames: ["id"],
      async handler(call, name, argv, user, directory, environment, stdin, stdout, stderr) {
        await allow(call, "exec", name, "exec");
        return calls.begin(call, name, { argv, user, directory, environment }, [stdin, stdout, stderr]);
      },
    }),
    ExecSignal: method({
      ...OPEN,
      in: "ui",
      out: "",
      inNames: ["id", "signal"],
      handler: (call, id, signal) => calls.signal(call, id, signal),
    }),
    ExecWait: method({
      ...OPEN,
      in: "u",
      out: "i",
      inNames: ["id"],
      outNames: ["status"],
      handler: (call, id) => calls.wait(call, id),
    }),
  };
}

function allow(call: MethodCall, action: "manage" | "exec", machine: string, verb: string): Promise<void> {
  return authorise(call, `org.berth.${action}`, { machine, verb });
}

/** As `list --json` has it, but for what is not known, which is left out. */
function show({ addresses, weaknesses, times: _, ...view }: MachineView): View {
  const entries = Object.entries(view).flatMap(([key, value]): [string, Variant][] => {
    if (typeof value === "string") return [[key, variant("s", value)]];
    if (typeof value === "boolean") return [[key, variant("b", value)]];
    return typeof value === "number" ? [[key, variant("u", value)]] : [];
  });
  return Object.fromEntries([
    ...entries,
    ["addresses", variant("as", addresses)],
    ["weaknesses", variant("as", weaknesses)],
  ]);
}
