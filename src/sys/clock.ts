/** CLOCK_MONOTONIC in ms. performance.now() is the same, and loads ten of Node's modules for it: 1 ms of a short command. */
export function monotonic(): number {
  const time = process.hrtime();
  return time[0] * 1e3 + time[1] / 1e6; // taken apart by an iterator it takes twice as long
}
