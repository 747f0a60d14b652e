import type { Interface, Method } from "../bus/interface.ts";
import type { MethodCall } from "../bus/method-call.ts";
import { row } from "../bus/standard-interfaces.ts";

/** How a method of a manager stands for one of the objects it manages, as GetMachineAddresses for GetAddresses. */
export interface Forwarding {
  /** The object's interface, by the name in the first argument. @throws DBusError when there is none */
  readonly find: (name: string) => Interface;
  /** Any such interface: its methods' signatures. */
  readonly shape: Interface;
}

/** The method of the manager: the name of the object comes first. `argument` is what machined calls that. */
export function forward({ find, shape }: Forwarding, member: string, names: Names = {}): Method {
  const own = methodOf(shape, member);
  const { argument = "name", inNames = own.inNames, outNames = own.outNames } = names;
  return {
    ...own,
    in: `s${own.in}`,
    inNames: [argument, ...inNames],
    outNames,
    // The server has read the arguments by that signature.
    invoke: (call: MethodCall, [name, ...args]: readonly unknown[]) =>
      methodOf(find(String(name)), member).invoke(call, args),
  };
}

interface Names {
  readonly argument?: string;
  readonly inNames?: readonly string[];
  readonly outNames?: readonly string[];
}

function methodOf({ name, methods }: Interface, member: string): Method {
  const found = row(methods, member);
  if (found === undefined) throw new Error(`${name} has no ${member}`);
  return found;
}
