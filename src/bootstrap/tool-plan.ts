import { apk } from "./apk.ts";
import { dnf } from "./dnf.ts";
import type { PackageTool, ToolPlan } from "./package-tool.ts";
import { pacman } from "./pacman.ts";
import type { RepositorySettings, RepositoryTool } from "./recipe.ts";
import type { ToolRequest } from "./tool-request.ts";
import { xbps } from "./xbps.ts";
import { zypper } from "./zypper.ts";

export type { ToolPlan } from "./package-tool.ts";

const TOOLS: Readonly<Record<RepositoryTool, PackageTool>> = { dnf, zypper, pacman, apk, xbps };

export function packageTool(name: RepositoryTool): PackageTool {
  return TOOLS[name];
}

/** `$mirror`, `$version` and `$arch` become what they stand for. */
export function planRepositoryTool(settings: RepositorySettings, request: ToolRequest): ToolPlan {
  const mirror = (request.mirror ?? settings.mirror ?? "").replace(/\/+$/, "");
  const words: Readonly<Record<string, string>> = { mirror, version: request.version, arch: request.architecture };
  const repositories = settings.repositories.map(({ name, address }) => ({
    name,
    address: address.replace(/\$(mirror|version|arch)\b/g, (_, word: string) => words[word] ?? ""),
  }));
  const { keyrings, tool } = settings;
  return {
    treeFiles: {},
    ...TOOLS[tool].plan({ ...settings, repositories }, request),
    tool,
    keyrings,
    sources: repositories.map(({ name, address }) => `${name} ${address}`),
  };
}
