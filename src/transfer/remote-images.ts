import { BerthError } from "../errors.ts";
import { fetchSmall } from "./http.ts";
import type { Remote } from "./remotes.ts";
import { addressOf, imagesIn, listsIn, type RemoteImage } from "./simplestreams.ts";
import { showUrl } from "./url.ts";

/** Bytes. The largest known list has 6 MB. */
const INDEX_MAX = 2 ** 20;
const LIST_MAX = 32 * 2 ** 20;
const LISTS_MAX = 20;

/** All that a server has. It takes as long as its lists are: not for the daemon's event loop. @throws BerthError */
export async function remoteImages({ url }: Remote, signal: AbortSignal): Promise<readonly RemoteImage[]> {
  const index = await fetchJson(url, "streams/v1/index.json", INDEX_MAX, signal);
  const images: RemoteImage[] = [];
  for (const path of listsIn(index).slice(0, LISTS_MAX))
    images.push(...imagesIn(await fetchJson(url, path, LIST_MAX, signal)));
  return images;
}

async function fetchJson(server: URL, path: string, max: number, signal: AbortSignal): Promise<unknown> {
  const url = addressOf(server, path);
  const text = await fetchSmall(url, max, signal);
  if (text === null)
    throw new BerthError(`${showUrl(url)} is not there`, {
      hint: "is that an image server that speaks simplestreams? berth remote list",
    });
  try {
    return JSON.parse(text.toString("utf8"));
  } catch (error) {
    throw new BerthError(`${showUrl(url)} is no JSON`, {
      cause: error,
      hint: "something on the way answers for the server",
    });
  }
}
