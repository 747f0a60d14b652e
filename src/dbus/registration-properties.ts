import { heldIn, type Variant } from "../bus/values.ts";
import { quote } from "../spec/quote.ts";
import { invalid } from "./access.ts";
import { NO_CONTACT } from "./bus-machine.ts";
import type { Registration } from "./registered.ts";

type Properties = readonly (readonly [string, Variant])[];

const TYPES: ReadonlyMap<string, string> = new Map([
  ["Id", "ay"],
  ["Service", "s"],
  ["Class", "s"],
  ["LeaderPID", "u"],
  ["LeaderPIDFD", "h"],
  ["LeaderPIDFDID", "t"],
  ["RootDirectory", "s"],
  ["NetworkInterfaces", "ai"],
  ["VSockCID", "u"],
  ["SSHAddress", "s"],
  ["SSHPrivateKeyPath", "s"],
]);

/** What RegisterMachineEx and CreateMachineEx of systemd 259 are told of a machine. Without a leader it is the caller. @throws DBusError InvalidArgs */
export function registrationOf(name: string, properties: Properties): Registration {
  for (const [key, { signature }] of properties) {
    const type = TYPES.get(key);
    if (type === undefined) throw invalid(`Unknown property ${quote(key)}`);
    if (signature !== type) throw invalid(`Property ${key} is of type ${type}`);
  }
  const given = new Map(properties);
  const text = (key: string): string => heldIn(given.get(key), "s") ?? "";
  const number = (key: string): number | undefined => heldIn(given.get(key), "u");
  return {
    name,
    id: heldIn(given.get("Id"), "ay") ?? Buffer.alloc(0),
    service: text("Service"),
    class: text("Class"),
    ...leaderOf(number("LeaderPID"), heldIn(given.get("LeaderPIDFD"), "h"), heldIn(given.get("LeaderPIDFDID"), "t")),
    root: text("RootDirectory"),
    links: heldIn(given.get("NetworkInterfaces"), "ai") ?? [],
    contact: {
      cid: number("VSockCID") ?? NO_CONTACT.cid,
      sshAddress: text("SSHAddress"),
      sshKeyPath: text("SSHPrivateKeyPath"),
    },
  };
}

/** A bare number may be another process's by the time we look. */
function leaderOf(
  leader: number | undefined,
  pidfd: number | undefined,
  pidfdId: bigint | undefined,
): Pick<Registration, "leader" | "pidfd" | "pidfdId"> {
  if (leader !== undefined && pidfd === undefined && pidfdId === undefined)
    throw invalid("LeaderPID comes with LeaderPIDFDID, or has LeaderPIDFD in its place");
  if (leader === undefined && pidfd === undefined && pidfdId !== undefined)
    throw invalid("LeaderPIDFDID comes with LeaderPID");
  return {
    leader: leader ?? 0,
    ...(pidfd === undefined ? {} : { pidfd }),
    ...(pidfdId === undefined ? {} : { pidfdId }),
  };
}
