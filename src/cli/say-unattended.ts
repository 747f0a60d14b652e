import type { MachineView } from "../manager/machine-view.ts";
import { complain } from "./output.ts";

/** More of them are not named. */
const NAMES = 3;

/** Of machines that are a berthd's, where none runs: what is known of them may be old, and they are on their own. */
export function sayUnattended(views: readonly MachineView[]): void {
  const names = views.filter(({ managed }) => managed).map(({ name }) => name);
  if (names.length === 0) return;
  const whom = names.length > NAMES ? `${names.length} machines` : names.join(", ");
  complain(`berthd does not run: nobody looks after ${whom}`, "berth daemon start takes over what runs");
}
