import { existsSync, realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

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

const INSTALLED = { etc: "/etc/berth", run: "/run/berth", machines: "/var/lib/machines", cache: "/var/cache/berth" };

/** The directory that settings, state and trees are below: / where berth is installed; null where they are in places of their own. */
export function rootOf({ etc, run, machines }: Paths): string | null {
  const is = (parts: Omit<Paths, "recipes">): boolean =>
    parts.etc === etc && parts.run === run && parts.machines === machines;
  if (is(INSTALLED)) return "/";
  const root = dirname(run);
  return is(partsOf(root)) ? root : null;
}

function partsOf(root: string): Omit<Paths, "recipes"> {
  return {
    etc: resolve(root, "etc"),
    run: resolve(root, "run"),
    machines: resolve(root, "machines"),
    cache: resolve(root, "cache"),
  };
}

/** `installation` is the directory that holds dist/ (a checkout or /usr/lib/berth). */
export function findPaths(env: NodeJS.ProcessEnv, installation: string, root: string | undefined): Paths {
  const under = root ?? (env["BERTH_ROOT"] || undefined);
  const base = under === undefined ? INSTALLED : partsOf(under);
  const own = resolve(installation, "bootstrap");
  return {
    etc: resolve(env["BERTH_ETC"] || base.etc),
    run: resolve(env["BERTH_RUN"] || base.run),
    machines: resolve(env["BERTH_MACHINES"] || base.machines),
    cache: resolve(env["BERTH_CACHE"] || base.cache),
    recipes: existsSync(own) ? own : "/usr/share/berth/bootstrap",
  };
}

/** Without links, so that two names of one place are the same; of what is not there, or can't be seen, as far as it is. */
export function realPath(path: string): string {
  try {
    return realpathSync.native(path);
  } catch {
    const above = dirname(path);
    return above === path ? path : join(realPath(above), basename(path));
  }
}
