import { DBusError } from "./dbus-error.ts";
import type { MethodCall } from "./method-call.ts";
import { variant } from "./values.ts";

const AUTHORITY = {
  destination: "org.freedesktop.PolicyKit1",
  path: "/org/freedesktop/PolicyKit1/Authority",
  interface: "org.freedesktop.PolicyKit1.Authority",
} as const;
const ALLOW_USER_INTERACTION = 1;
/** How the bus says that no polkit runs here, and can't be started. */
const ABSENT = /\.(ServiceUnknown|NameHasNoOwner|Spawn\.[A-Za-z]+)$/;

let cancellations = 0;

/** @throws DBusError AccessDenied unless the caller is root */
export async function requireRoot(call: MethodCall, what: string): Promise<void> {
  const { uid } = await call.credentials();
  if (uid !== 0) throw new DBusError("AccessDenied", `Access to ${what} not permitted.`);
  call.authorised = true;
}

/**
 * Lets root pass, and others as polkit decides about the action; a caller that waits for it may be asked for a password,
 * and when it leaves so does the question.
 * @throws DBusError AccessDenied; InteractiveAuthorizationRequired where a password would do and nobody may be asked
 */
export async function authorise(
  call: MethodCall,
  action: string,
  details: Readonly<Record<string, string>> = {},
): Promise<void> {
  const { uid } = await call.credentials();
  const [authorised, challenge] = uid === 0 ? [true, false] : await check(call, action, details);
  call.authorised = authorised;
  if (authorised) return;
  if (challenge && !call.interactive)
    throw new DBusError("InteractiveAuthorizationRequired", "Interactive authentication required.");
  throw new DBusError("AccessDenied", `Access denied: polkit does not grant ${action}.`);
}

type Decision = readonly [authorised: boolean, challenge: boolean, details: Readonly<Record<string, string>>];

async function check(call: MethodCall, action: string, details: Readonly<Record<string, string>>): Promise<Decision> {
  const { connection } = call;
  // Only where somebody is asked does an answer take long enough to be taken back.
  const cancellation = call.interactive ? `berth-${++cancellations}` : "";
  const unwatch = call.interactive
    ? await call.onGone(() => {
        const request = {
          ...AUTHORITY,
          member: "CancelCheckAuthorization",
          in: "s",
          args: [cancellation],
          out: "",
        } as const;
        connection.call(request).catch(() => undefined);
      })
    : () => undefined;
  try {
    const [decision] = await connection.call({
      ...AUTHORITY,
      member: "CheckAuthorization",
      in: "(sa{sv})sa{ss}us",
      args: [
        ["system-bus-name", { name: variant("s", call.sender) }],
        action,
        details,
        call.interactive ? ALLOW_USER_INTERACTION : 0,
        cancellation,
      ],
      out: "(bba{ss})",
      ...(call.interactive ? { timeoutMs: Number.POSITIVE_INFINITY } : {}),
    });
    return decision;
  } catch (error) {
    if (error instanceof DBusError && ABSENT.test(error.errorName))
      throw new DBusError("AccessDenied", "Access denied: only root may do this where no polkit runs.", {
        cause: error,
      });
    throw error;
  } finally {
    unwatch();
  }
}
