"use strict";
// Preloaded in berthd by loop.ts: tells how long its event loop kept others waiting since it was asked last (SIGUSR2), in ms.
const { appendFileSync } = require("node:fs");
const { monitorEventLoopDelay } = require("node:perf_hooks");

const MS = 1e6; // ns
const delay = monitorEventLoopDelay({ resolution: 1 });
delay.enable();
process.on("SIGUSR2", () => {
  const told = { p50: delay.percentile(50) / MS, p99: delay.percentile(99) / MS, longest: delay.max / MS };
  appendFileSync(process.env.BERTH_BENCH_DELAYS, `${JSON.stringify(told)}\n`);
  delay.reset();
});
