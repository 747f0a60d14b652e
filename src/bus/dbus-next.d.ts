/** The parts of dbus-next that are used. Its entry is not: that loads XML parsers, and a native module where there is one. */

declare module "dbus-next/lib/variant.js" {
  export class Variant {
    constructor(signature: string, value: unknown);
    readonly signature: string;
    readonly value: unknown;
  }
}

declare module "dbus-next/lib/message-type.js" {
  export interface MessageFields {
    readonly type: number;
    readonly serial: number;
    readonly flags?: number | undefined;
    readonly path?: string | undefined;
    readonly interface?: string | undefined;
    readonly member?: string | undefined;
    readonly errorName?: string | undefined;
    readonly replySerial?: number | undefined;
    readonly destination?: string | undefined;
    readonly signature?: string | undefined;
    readonly body?: readonly unknown[] | undefined;
  }
  /** The constructor throws on names that are none and on fields that are missing. */
  export class Message {
    constructor(fields: MessageFields);
  }
}

declare module "dbus-next/lib/marshall-compat.js" {
  import type { Message } from "dbus-next/lib/message-type.js";
  /** The message's bytes, and the fds its body names by their number, in the order of their index. */
  export function marshallMessage(message: Message): [bytes: Buffer, fds: number[]];
}
