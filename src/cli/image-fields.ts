import type { ImageInfo } from "../image/image.ts";

/** What is told of an image in JSON. */
export function imageFields(image: ImageInfo) {
  const { name, type, readOnly, usage, limit, path, parent, layers, driver, why } = image;
  return {
    ...{ name, type, readOnly, usage, limit },
    ...{ usageExclusive: image.usageExclusive, limitExclusive: image.limitExclusive },
    ...{ created: isoTime(image.created), modified: isoTime(image.modified), path, parent, layers, driver, why },
  };
}

export function isoTime(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}

/** `2026-11-26 17:18:34 UTC`; `-` for null. */
export function showTime(ms: number | null): string {
  return isoTime(ms)?.replace("T", " ").replace(/\..*/, " UTC") ?? "-";
}

/** As the bus has times. */
export function microseconds(ms: number | null): number | null {
  return ms === null ? null : Math.floor(ms * 1000);
}
