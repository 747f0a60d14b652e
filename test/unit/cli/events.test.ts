/** What `berth events` tells of machines over the lives of daemons. */
import { expect, test } from "vitest";
import { Follower } from "../../../src/cli/verbs/events.ts";
import { type MachineView, viewOfStopped } from "../../../src/manager/machine-view.ts";
import type { MachineEvent } from "../../../src/manager/manager.ts";

function view(name: string, state: MachineView["state"]): MachineView {
  return { ...viewOfStopped(name, `/machines/${name}`, null), state };
}

function follow(): { follower: Follower; told: string[] } {
  const told: string[] = [];
  const tell = ({ type, machine, view: now }: MachineEvent): void => {
    told.push(`${type} ${machine} ${now?.state ?? "-"}`);
  };
  return { follower: new Follower(tell), told };
}

test("of the first daemon nothing is news but its events", () => {
  const { follower, told } = follow();
  follower.hear({ type: "new", machine: "a", view: view("a", "starting") });
  follower.catchUp([view("a", "starting"), view("b", "running")]);
  expect(told).toEqual(["new a starting"]);
});

test("of the next ones it is what has changed, came and went", () => {
  const { follower, told } = follow();
  follower.catchUp([view("same", "running"), view("gone", "running"), view("other", "starting")]);
  follower.hear({ type: "changed", machine: "other", view: view("other", "running") });
  follower.hear({ type: "new", machine: "short", view: view("short", "running") });
  follower.hear({ type: "removed", machine: "short", view: null });
  follower.catchUp([view("same", "running"), view("other", "failed"), view("more", "running")]);
  expect(told.slice(3)).toEqual(["removed gone -", "changed other failed", "new more running"]);
  follower.catchUp([view("same", "running"), view("other", "failed"), view("more", "running")]);
  expect(told).toHaveLength(6);
});
