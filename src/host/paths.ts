import { existsSync } from "node:fs";
import { resolve } from "node:path";

/**
 * Where everything of one berth root lives. BERTH_ROOT (or --root) puts all of it under one directory; BERTH_ETC,
 * BERTH_RUN, BERTH_MACHINES and BERTH_CACHE move one part alone. Two roots never see each other.
 */
export interface Paths {
  /** Settings: `machines/NAME.nspawn`, `berth.conf`. */
  readonly etc: string;
  /** Runtime state: records, locks, sockets. Gone after a reboot. */
  readonly run: string;
  /** Trees and images, one directory a machine. */
  readonly machines: string;
  /** What can be made again: bootstrapped trees, compiled seccomp filters. Root-only. */
  readonly cache: string;
  /** Recipes for `berth bootstrap`. */
  readonly recipes: string;
}

/** `installation` is the directory that holds dist/ (a checkout or /usr/lib/berth). */
export function findPaths(env: NodeJS.ProcessEnv, installation: string, root: string | undefined): Paths {
  const under = root ?? (env["BERTH_ROOT"] || undefined);
  const base =
    under === undefined
      ? { etc: "/etc/berth", run: "/run/berth", machines: "/var/lib/machines", cache: "/var/cache/berth" }
      : { etc: `${under}/etc`, run: `${under}/run`, machines: `${under}/machines`, cache: `${under}/cache` };
  const own = resolve(installation, "bootstrap");
  return {
    etc: resolve(env["BERTH_ETC"] || base.etc),
    run: resolve(env["BERTH_RUN"] || base.run),
    machines: resolve(env["BERTH_MACHINES"] || base.machines),
    cache: resolve(env["BERTH_CACHE"] || base.cache),
    recipes: existsSync(own) ? own : "/usr/share/berth/bootstrap",
  };
}
