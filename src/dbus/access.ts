import { DBusError } from "../bus/dbus-error.ts";
import type { MethodCall } from "../bus/method-call.ts";
import { authorise } from "../bus/polkit.ts";
import { quote } from "../spec/quote.ts";
import type { BusMachine } from "./bus-machine.ts";
import { MACHINE1 } from "./places.ts";

/** polkit's actions of machine1; Debian's systemd-container has them. */
export type Action =
  | "login"
  | "open-pty"
  | "host-open-pty"
  | "shell"
  | "host-login"
  | "host-shell"
  | "manage-machines"
  | "manage-images";

type Details = Readonly<Record<string, string>>;

/** @throws DBusError AccessDenied, InteractiveAuthorizationRequired */
export function allow(call: MethodCall, action: Action, details: Details): Promise<void> {
  return authorise(call, `${MACHINE1}.${action}`, details);
}

export function allowManaging(call: MethodCall, { name }: BusMachine, verb: string, more: Details = {}): Promise<void> {
  return allow(call, "manage-machines", { machine: name, verb, ...more });
}

export function allowImage(call: MethodCall, image: string, verb: string, more: Details = {}): Promise<void> {
  return allow(call, "manage-images", { image, verb, ...more });
}

export function notSupported(what: string): DBusError {
  return new DBusError("NotSupported", what);
}

export function invalid(what: string): DBusError {
  return new DBusError("InvalidArgs", what);
}

/** Each a variable with a name that a shell could give it. */
export function requireEnvironment(assignments: readonly string[]): void {
  const wrong = assignments.find((each) => !/^[A-Za-z_][A-Za-z0-9_]*=/.test(each));
  if (wrong !== undefined) throw invalid(`Invalid environment assignment ${quote(wrong)}`);
}
