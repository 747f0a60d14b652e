import type { Connection } from "./connection.ts";
import { CredentialsCache } from "./credentials.ts";
import { answerableError, DBusError } from "./dbus-error.ts";
import type { Interface, Method } from "./interface.ts";
import { closeFdsIn, type IncomingMessage } from "./message.ts";
import { MethodCall } from "./method-call.ts";
import { ObjectTree, type Subtree } from "./object-tree.ts";
import { requireRoot } from "./polkit.ts";
import { parseSignature } from "./signature.ts";
import { PEER, PROPERTIES, peer, properties, readVariant, row, STANDARD } from "./standard-interfaces.ts";
import type { Variant } from "./values.ts";

/** Calls of one sender that are being answered at a time, as dbus-daemon(1) has it: who sends more is told so, and nobody else. */
const CALLS_AT_A_TIME = 128;

export interface Listeners {
  /** What was not meant to be told to anybody. */
  readonly onError: (error: unknown, call: string) => void;
  /** A call has come. */
  readonly onAsked?: (() => void) | undefined;
  /** Has each call answered, but for those whose answer is known. */
  readonly onCall?: ((member: string, answer: () => void) => void) | undefined;
  /** `authorised`: by one who was allowed to call. */
  readonly onRefusal?: ((text: string, authorised: boolean) => void) | undefined;
}

/**
 * Objects with interfaces, and the answers to calls of them, on any number of connections. Every answer is what the
 * handler says, or an error with a name and one sentence; what was not meant to be one is logged and told as Failed.
 */
export class ObjectServer {
  readonly #tree = new ObjectTree();
  readonly #connections = new Set<Connection>();
  readonly #onError: Listeners["onError"];
  readonly #onAsked: NonNullable<Listeners["onAsked"]>;
  readonly #onCall: NonNullable<Listeners["onCall"]>;
  readonly #onRefusal: Listeners["onRefusal"];
  /** By sender. */
  readonly #answering = new Map<string, number>();

  constructor({ onError, onAsked = () => undefined, onCall = (_member, answer) => answer(), onRefusal }: Listeners) {
    this.#onError = onError;
    this.#onAsked = onAsked;
    this.#onCall = onCall;
    this.#onRefusal = onRefusal;
  }

  export(path: string, interfaces: readonly Interface[]): void {
    this.#tree.export(path, interfaces);
  }

  addSubtree(prefix: string, subtree: Subtree): void {
    this.#tree.addSubtree(prefix, subtree);
  }

  /** Answers calls on this connection from now on, until it ends. Before a name is requested: calls come with it. */
  attach(connection: Connection): void {
    const credentials = new CredentialsCache(connection);
    this.#connections.add(connection);
    connection.known.onAnswer = this.#onAsked;
    connection.onCall = (message) => {
      this.#onAsked();
      const call = new MethodCall(connection, message, credentials);
      this.#onCall(call.member, () => void this.#serve(call, message));
    };
    void connection.ended.then(() => this.#connections.delete(connection));
  }

  /** Sends a signal of the interface's description to all who listen, or on one connection to one. */
  emit(path: string, { name, signals }: Interface, member: string, body: readonly unknown[], only?: MethodCall): void {
    const description = row(signals, member);
    if (!description) throw new Error(`${name} has no signal ${member}`);
    this.#send({ path, interface: name, member, signature: description.signature, body }, only);
  }

  /** Tells that these properties changed, as each one's `emits` says. What can't be told is logged. */
  async changed(path: string, of: Interface, names: readonly string[]): Promise<void> {
    if (this.#connections.size === 0) return;
    const values: Record<string, Variant> = {};
    const invalidated: string[] = [];
    try {
      for (const name of names) {
        const property = row(of.properties, name);
        if (property?.emits === "true") values[name] = await readVariant(property);
        else if (property?.emits === "invalidates") invalidated.push(name);
        else throw new Error(`${of.name} does not tell when ${name} changes`);
      }
    } catch (error) {
      this.#onError(error, `PropertiesChanged of ${path}`);
      return;
    }
    this.#send({
      path,
      interface: PROPERTIES,
      member: "PropertiesChanged",
      signature: "sa{sv}as",
      body: [of.name, values, invalidated],
    });
  }

  #send(signal: Parameters<Connection["emit"]>[0], only?: MethodCall): void {
    try {
      if (only) only.connection.emit({ ...signal, destination: only.sender });
      else for (const connection of this.#connections) connection.emit(signal);
    } catch (error) {
      this.#onError(error, `${signal.member} of ${signal.path}`);
    }
  }

  async #serve(call: MethodCall, message: IncomingMessage): Promise<void> {
    const { sender } = call;
    const underway = this.#answering.get(sender) ?? 0;
    this.#answering.set(sender, underway + 1);
    try {
      if (underway >= CALLS_AT_A_TIME)
        throw new DBusError("LimitsExceeded", `${CALLS_AT_A_TIME} of your calls are being answered already.`);
      // Nothing is waited for that is there already: most answers are given in the turn in which the call came.
      const found = this.#tree.find(call.path, call);
      const method = this.#find(call, found instanceof Promise ? await found : found);
      const args = readArguments(method, message);
      if (!method.row.unprivileged) await requireRoot(call, `${method.name}.${call.member}()`);
      const given = method.row.invoke(call, args);
      const body = bodyOf(method.row.out, given instanceof Promise ? await given : given);
      if (call.noReply) closeFdsIn({ signature: method.row.out, body });
      else call.connection.reply(message, method.row.out, body);
      const { read } = call;
      if (read && (read.isCurrent || this.#tree.isLasting(call.path))) call.connection.known.learn(message, read);
    } catch (error) {
      this.#refuse(call, message, error);
    } finally {
      message.closeFds();
      this.#answered(sender);
    }
  }

  #answered(sender: string): void {
    const left = (this.#answering.get(sender) ?? 1) - 1;
    if (left === 0) this.#answering.delete(sender);
    else this.#answering.set(sender, left);
  }

  #refuse(call: MethodCall, message: IncomingMessage, error: unknown): void {
    const { interface: name, member } = message.header;
    const known = answerableError(error);
    if (!known) this.#onError(error, `${name}.${member} of ${call.path}`);
    else this.#onRefusal?.(known.text, call.authorised);
    const { name: errorName, text } = known ?? {
      name: "org.freedesktop.DBus.Error.Failed",
      text: `${member} failed; the log of the daemon says why.`,
    };
    try {
      if (!call.noReply) call.connection.replyError(message, errorName, text);
    } catch (unsent) {
      this.#onError(unsent, `${name}.${member} of ${call.path}`);
    }
  }

  #find(call: MethodCall, own: readonly Interface[] | undefined): { readonly row: Method; readonly name: string } {
    const { path, member, interface: wanted } = call;
    for (const one of interfacesFor(call, own)) {
      const found = wanted === undefined || one.name === wanted ? row(one.methods, member) : undefined;
      if (!found) continue;
      call.object = { interfaces: own ?? [], children: () => this.#tree.children(path) };
      return { row: found, name: one.name };
    }
    throw new DBusError("UnknownMethod", `Unknown method ${member} or interface ${wanted ?? "(null)"}.`);
  }
}

/** Where the method is looked for. */
function interfacesFor(
  { path, member, interface: wanted }: MethodCall,
  own: readonly Interface[] | undefined,
): readonly Interface[] {
  if (wanted === PEER) return [peer];
  // What only has objects below it can be introspected, and that is all.
  if (own === undefined || (own.length === 0 && member !== "Introspect"))
    throw new DBusError("UnknownObject", `Unknown object '${path}'.`);
  return wanted === PROPERTIES ? [properties] : [...STANDARD, ...own];
}

/** The body is looked at only when its signature is the method's: anybody may send bodies that take long to read. */
function readArguments(
  { row: { in: wanted }, name }: { row: Method; name: string },
  message: IncomingMessage,
): unknown[] {
  const { signature, member } = message.header;
  if (signature !== wanted)
    throw new DBusError(
      "InvalidArgs",
      `Invalid arguments '${signature}' to call ${name}.${member}(), expecting '${wanted}'.`,
    );
  return message.read();
}

function bodyOf(signature: string, answer: unknown): readonly unknown[] {
  const count = parseSignature(signature).length;
  if (count === 0) return [];
  if (count === 1) return [answer];
  return Array.isArray(answer) ? answer : [];
}
