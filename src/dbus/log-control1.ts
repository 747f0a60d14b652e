import { type Interface, property } from "../bus/interface.ts";
import type { ObjectServer } from "../bus/object-server.ts";
import { invalid, notSupported } from "./access.ts";
import { LOG_LEVELS, type LogControl, type LogLevel, type LogTarget } from "./log-levels.ts";
import { LOG_CONTROL1, LOG_CONTROL1_PATH } from "./places.ts";

/** Those of systemd's programs. */
const TARGETS = [
  ...["console", "console-prefixed", "kmsg", "journal", "journal-or-kmsg"],
  ...["syslog", "syslog-or-kmsg", "auto", "null"],
] as const;

/** org.freedesktop.LogControl1, under each name: what `systemctl service-log-level berthd` and busctl(1) change. */
export function exportLogControl1(server: ObjectServer, control: LogControl, log: (line: string) => void): void {
  server.export(LOG_CONTROL1_PATH, [logControlInterface(control, log)]);
}

/** Texts of errors are systemd's. */
function logControlInterface(control: LogControl, log: (line: string) => void): Interface {
  return {
    name: LOG_CONTROL1,
    properties: {
      LogLevel: property({
        type: "s",
        emits: "false",
        read: () => control.level,
        write(_, text) {
          const level = levelOf(text);
          // Before, as nobody may hear of it later.
          log(`the log's level is ${level} from now on`);
          control.level = level;
        },
      }),
      LogTarget: property({
        type: "s",
        emits: "false",
        read: () => control.target,
        write(_, text) {
          const target = targetOf(text, control.targets);
          log(`the log's target is ${target} from now on`);
          control.target = target;
        },
      }),
      SyslogIdentifier: property({ type: "s", emits: "false", read: () => "berthd" }),
    },
  };
}

/** By its word or number. */
function levelOf(text: string): LogLevel {
  const level = LOG_LEVELS.find((each) => each === text) ?? (/^\d+$/.test(text) ? LOG_LEVELS[Number(text)] : undefined);
  if (level === undefined) throw invalid(`Invalid log level '${text}'`);
  return level;
}

function targetOf(text: string, known: readonly LogTarget[]): LogTarget {
  const target = known.find((each) => each === text);
  if (target !== undefined) return target;
  if (!TARGETS.some((each) => each === text)) throw invalid(`Invalid log target '${text}'`);
  throw notSupported(`berthd writes to stderr only: its log target is one of ${known.join(", ")}, and not ${text}.`);
}
