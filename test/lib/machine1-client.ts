/**
 * A client of org.freedesktop.machine1 on a root's own bus, with fds, which busctl(1) can't show:
 *
 *   await using client = await Machine1Client.of(root);                       // starts the daemon
 *   await client.call("GetMachine", "s", ["m"], "o")                          // of the manager
 *   await client.callAt("machine/m", "Machine", "OpenPTY", "", [], "hs")      // of an object
 *   await client.property("machine/m", "Machine", "Leader")
 */
import { Connection } from "../../src/bus/connection.ts";
import type { Variant } from "../../src/bus/values.ts";
import type { BerthRoot } from "./berth.ts";

export const MACHINE1 = "org.freedesktop.machine1";
export const MACHINE1_PATH = "/org/freedesktop/machine1";

type Answer = Promise<readonly unknown[]>;

export class Machine1Client implements AsyncDisposable {
  readonly #connection: Connection;

  private constructor(connection: Connection) {
    this.#connection = connection;
  }

  static async of(root: BerthRoot): Promise<Machine1Client> {
    const { status, stderr } = await root.berth("daemon", "start");
    if (status !== 0) throw new Error(stderr);
    return new Machine1Client(await Connection.open(`unix:path=${root.bus}`));
  }

  call(member: string, form: string, args: readonly unknown[], out: string): Answer {
    return this.#call(MACHINE1_PATH, `${MACHINE1}.Manager`, member, form, args, out);
  }

  callAt(path: string, kind: string, member: string, form: string, args: readonly unknown[], out: string): Answer {
    return this.#call(`${MACHINE1_PATH}/${path}`, `${MACHINE1}.${kind}`, member, form, args, out);
  }

  async property(path: string, kind: string, name: string): Promise<unknown> {
    const args = [`${MACHINE1}.${kind}`, name];
    const to = `${MACHINE1_PATH}/${path}`;
    const [value] = await this.#call(to, "org.freedesktop.DBus.Properties", "Get", "ss", args, "v");
    return (value as Variant).value;
  }

  /** `NAME CLASS SERVICE` of each machine. */
  async machines(): Promise<readonly string[]> {
    const [rows] = await this.call("ListMachines", "", [], "a(ssso)");
    return (rows as readonly (readonly string[])[]).map((row) => row.slice(0, 3).join(" "));
  }

  #call(path: string, name: string, member: string, form: string, args: readonly unknown[], out: string): Answer {
    return this.#connection.call({ destination: MACHINE1, path, interface: name, member, in: form, args, out });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#connection.close();
    await this.#connection.ended;
  }
}
