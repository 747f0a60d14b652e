import { keeper } from "./make-step.ts";
import type { Step } from "./step.ts";

/**
 * The second layer over what already belongs to ids that the machine does not have: parts of /proc and /sys that act
 * on the whole host, or tell of it. They are covered or read-only even where a kernel bug or a machine without a user
 * namespace takes the first layer away. What a kernel does not have is passed over.
 */
const COVERED_FILES = ["kallsyms", "kcore", "keys", "latency_stats", "sched_debug", "sysrq-trigger", "timer_list"];
const COVERED_DIRECTORIES = ["/proc/acpi", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"];
const READ_ONLY = ["apm", "asound", "bus", "fs", "irq"];

export function maskKernel(): Step[] {
  return [
    ...COVERED_FILES.map((name) => keeper("mask", { path: `/proc/${name}`, over: "file" })),
    ...COVERED_DIRECTORIES.map((path) => keeper("mask", { path, over: "directory" })),
    ...READ_ONLY.map((name) => keeper("lock-read-only", { path: `/proc/${name}`, except: null })),
    // Network settings are the machine's own: the kernel keeps one set a network namespace.
    keeper("lock-read-only", { path: "/proc/sys", except: "net" }),
  ];
}
