import type { MethodCall } from "../bus/method-call.ts";
import { BerthError } from "../errors.ts";

/** What takes long ends when whoever called leaves the bus. */
export async function whileCalled<T>(call: MethodCall, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const gone = new AbortController();
  const unwatch = await call.onGone(() => gone.abort(new BerthError("who asked for it has gone")));
  try {
    return await work(gone.signal);
  } finally {
    unwatch();
  }
}
