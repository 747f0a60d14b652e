import { publishUsers } from "./bind-users.ts";
import { attachCredentials } from "./credentials.ts";
import { machineId, type PlanInput } from "./input.ts";
import { init, keeper } from "./make-step.ts";
import { withContext } from "./selinux.ts";
import type { Step } from "./step.ts";

/** /run/host of the Container Interface: who the manager is, and what the payload may use of the host. Read-only. */
export function publishIdentity(input: PlanInput): Step[] {
  const text = (name: string, content: string): Step =>
    keeper("write-file", { path: `/run/host/${name}`, mode: 0o444, text: content });
  return [
    keeper("make-directory", { path: "/run/host", mode: 0o755 }),
    keeper(
      "mount-tmpfs",
      {
        target: "/run/host",
        mode: 0o755,
        flags: ["nosuid", "nodev", "noexec", "strictatime"],
        options: withContext(input, ["size=1m", "nr_inodes=1k"]),
        remove: false,
      },
      input.spec.selinuxApifsContext.source,
    ),
    text("container-manager", "berth\n"),
    text("container-uuid", `${dashed(machineId(input))}\n`),
    text("os-release", osRelease(input.host.osRelease)),
    keeper("make-directory", { path: "/run/host/incoming", mode: 0o755 }),
    keeper("make-inaccessible", { path: "/run/host/inaccessible" }),
    keeper("attach", { fd: "notify", target: "/run/host/notify", create: "file", api: true, remove: false }),
    ...attachCredentials(input),
    ...publishUsers(input),
    keeper("set-read-only", { path: "/run/host" }),
  ];
}

export function identify({ spec }: PlanInput): Step[] {
  return [
    init("set-hostname", { hostname: spec.hostname.value }, spec.hostname.source),
    // The keys of whoever started the machine stay outside.
    init("join-keyring", {}),
  ];
}

/** 8-4-4-4-12, as container_uuid is written. */
export function dashed(id: string): string {
  return id.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** os-release(5): values in double quotes with the shell's special characters escaped. */
function osRelease(fields: Readonly<Record<string, string>>): string {
  return Object.entries(fields)
    .map(([name, value]) => `${name}="${value.replace(/[\\"$`]/g, "\\$&")}"\n`)
    .join("");
}
