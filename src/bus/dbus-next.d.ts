/** dbus-next's value of any type. Its entry is not loaded: that reads XML and loads a native module where there is one. */

declare module "dbus-next/lib/variant.js" {
  export class Variant {
    constructor(signature: string, value: unknown);
    readonly signature: string;
    readonly value: unknown;
  }
}
