/**
 * For every test worker (vitest.config.ts): kill(2) with 0 is this worker's whole group, with -1 every process of the host,
 * and a pid that was not found easily becomes one of these.
 */
const { kill } = process;

process.kill = (pid, signal) => {
  const group = Math.abs(pid);
  if (!Number.isInteger(pid) || group <= 1) throw new Error(`kill(${pid}) is not for one process, or one group`);
  return kill.call(process, pid, signal);
};
