import type { MachineView } from "../manager/machine-view.ts";
import { complain } from "./output.ts";

let said = false;

/** Where one of these is a berthd's, and none runs: what is known of it may be old. Said once, of however many machines. */
export function sayUnattended(views: readonly MachineView[]): void {
  if (said || !views.some(({ managed }) => managed)) return;
  said = true;
  complain("berthd does not run: nobody looks after its machines", "berth daemon start");
}
