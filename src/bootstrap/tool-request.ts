import type { Lock } from "./lock.ts";
import type { Architecture } from "./recipe-text.ts";

/** What a tool is asked to install, besides what its section of the recipe says. */
export interface ToolRequest {
  /** What the archive calls the release. */
  readonly version: string;
  readonly packages: readonly string[];
  readonly architecture: Architecture;
  /** In place of the recipe's. */
  readonly mirror: string | undefined;
  readonly locked: Lock["packages"] | null;
}
