import { AsyncLocalStorage } from "node:async_hooks";

const environments = new AsyncLocalStorage<Proxies>();

/** Variables that name proxies, as curl(1) and apt(8) take them from the environment. */
export type Proxies = Readonly<Record<string, string>>;

const PROXY = /^(http_proxy|https_proxy|no_proxy)$/i;

export function proxiesIn(env: NodeJS.ProcessEnv): Proxies {
  return Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => (PROXY.test(name) && value !== undefined ? [[name, value]] : [])),
  );
}

/** Whatever `act` leads to asks the proxies of who asked for it; where they name none, our own. */
export function withProxies<T>(proxies: Proxies, act: () => T): T {
  return Object.keys(proxies).length === 0 ? act() : environments.run(proxies, act);
}

/** Undefined: nobody has named any. */
export function proxiesNow(): Proxies | undefined {
  return environments.getStore();
}
