/**
 * A machine that is launched by a process of its own, which then waits to be killed (kept-machine.ts):
 *
 *   node test/lib/launch-of-own.ts OPTIONS         # as JSON; says the pids of leader and keeper when it runs
 *   node test/lib/launch-of-own.ts OPTIONS FD      # is killed, with SIGKILL, as soon as the launch has the fd of that name
 *
 * With an FD it says "go" when it begins, and nothing else.
 */
import { type MachineOptions, testMachine } from "./launch.ts";

const [options = "{}", at] = process.argv.slice(2);
const launch = testMachine(JSON.parse(options) as MachineOptions).launch();
if (at !== undefined) {
  const name = launch.fds.name.bind(launch.fds);
  launch.fds.name = (fdName, fd) => {
    name(fdName, fd);
    if (fdName === at) process.kill(process.pid, "SIGKILL");
  };
  console.log("go");
}
await launch.run();
if (at === undefined) console.log(JSON.stringify({ leader: launch.leaderPid, keeper: launch.keeperPid }));
setInterval(() => {}, 1000);
