import { DBusError } from "../bus/dbus-error.ts";
import type { MethodCall } from "../bus/method-call.ts";
import { authorise } from "../bus/polkit.ts";
import type { BusMachine } from "./bus-machine.ts";
import { MACHINE1 } from "./places.ts";

/** polkit's actions of machine1; systemd-container has them, and units/ where that is not installed. */
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
