import { RESTART_MODES } from "../spec/machine-spec.ts";
import { section } from "./setting.ts";
import { integer, oneOf } from "./values.ts";
import { timeout, timeSpan, timeSpanOrInfinity } from "./values-time.ts";

/**
 * [Machine]: what berthd does with a machine over its boots. Berth's own section, with names and values of
 * systemd.service(5) and systemd.unit(5). None is for an image to say: whether, how soon and how often the host starts
 * something again is the host's own affair, and so is how long those wait who start or stop it.
 */
export const MACHINE = section("Machine", {
  Restart: {
    takes: "WHEN",
    help: "when berthd starts a machine again that has ended",
    parse: oneOf(RESTART_MODES),
    default: "no",
    options: [],
    safe: false, // an image would come back whenever it is killed
    state: "in effect",
  },
  RestartSec: {
    takes: "TIME",
    help: "how long berthd waits before it does so for the first time",
    parse: timeSpan,
    default: "100ms",
    options: [],
    safe: false, // with 0 an image that ends at once would keep the host busy
    state: "in effect",
  },
  StartLimitBurst: {
    takes: "NUMBER",
    help: "how often a machine may be started within StartLimitIntervalSec= before it has failed for good",
    parse: integer(0, 1_000_000),
    default: "5",
    options: [],
    safe: false, // this and the next one bound what an image costs the host
    state: "in effect",
  },
  StartLimitIntervalSec: {
    takes: "TIME",
    help: "within which time StartLimitBurst= starts may lie",
    parse: timeSpanOrInfinity,
    default: "10s",
    options: [],
    safe: false,
    state: "in effect",
  },
  TimeoutStartSec: {
    takes: "TIME",
    help: "how long a machine may take to be ready",
    parse: timeout,
    default: "90s",
    options: [],
    safe: false, // an image could keep who starts it waiting for ever
    state: "in effect",
  },
  TimeoutStopSec: {
    takes: "TIME",
    help: "how long a machine that is to power off may take to end",
    parse: timeout,
    default: "90s",
    options: [],
    safe: false, // or the host from shutting down
    state: "in effect",
  },
});
