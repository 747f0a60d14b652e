import { posix } from "node:path";
import type { Layer, Overlay } from "../spec/machine-spec.ts";
import { quote } from "../spec/quote.ts";
import type { Parse } from "./setting.ts";
import { words } from "./values.ts";
import { clean, machineTarget } from "./values-files.ts";
import { PATHS, type Word } from "./words.ts";

type Report = Parameters<Parse<unknown>>[1];

/** An option of a file system has 255 bytes, in which the lower ones are named. */
const LAYERS_MAX = 80;

/**
 * Overlay= and OverlayReadOnly=: `[+]LOWER[:[+]LOWER...]:[+]UPPER:TARGET`, or `LOWER:UPPER`, where UPPER is the target as
 * well (systemd-nspawn(1), --overlay=). An UPPER that is empty is a temporary directory. Relative ones, in an option, come
 * back so, for build-spec.ts to resolve.
 */
export function overlay(readOnly: boolean, relative: boolean): Parse<Overlay> {
  return (value, report) => {
    const paths = words(value, PATHS, report)?.words;
    if (paths === undefined) return undefined;
    if (paths.length < 2) {
      report({
        what: `${quote(value)} is one path, which is no overlay`,
        expected: "LOWER:UPPER or LOWER:UPPER:TARGET",
      });
      return undefined;
    }
    if (paths.length > LAYERS_MAX + 1) {
      report({ what: `${paths.length - 1} layers are too many`, expected: `at most ${LAYERS_MAX}` });
      return undefined;
    }
    const layers = paths.length === 2 ? paths : paths.slice(0, -1);
    const last = paths.at(-1) ?? { text: "", offset: 0 };
    const target = paths.length === 2 ? { ...last, text: last.text.replace(/^\+/, "") } : last;
    const read = layers.map((path, index) => {
      const mayBeEmpty = paths.length > 2 && index === layers.length - 1;
      return mayBeEmpty && path.text === "" ? null : readLayer(path, relative, report);
    });
    const fits = machineTarget(target, report);
    const lower = read.slice(0, -1).filter((layer) => layer !== undefined && layer !== null);
    const upper = read.at(-1);
    if (!fits || upper === undefined || lower.length < layers.length - 1) return undefined;
    return { target: clean(target.text), lower, upper, readOnly };
  };
}

function readLayer({ text, offset }: Word, relative: boolean, report: Report): Layer | undefined {
  const fromRoot = text.startsWith("+");
  const source = fromRoot ? text.slice(1) : text;
  if (source.startsWith("/") || (relative && !fromRoot && source !== "")) return { source: clean(source), fromRoot };
  if (source === "") report({ what: "a layer is empty, and only the last one may be", expected: "a path", offset });
  else report({ what: `layer ${quote(source)} is not absolute`, expected: "a path that starts with /", offset });
  return undefined;
}

/** Relative layers as seen from `directory`, where the command was given. */
export function resolveOverlay(given: Overlay, directory: string): Overlay {
  const resolve = <T extends Layer | null>(layer: T): T =>
    layer === null || layer.fromRoot || layer.source.startsWith("/")
      ? layer
      : { ...layer, source: posix.resolve(directory, layer.source) };
  return { ...given, lower: given.lower.map(resolve), upper: resolve(given.upper) };
}
