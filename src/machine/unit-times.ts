/** When a unit of a machine's systemd was started: ms of CLOCK_MONOTONIC. */
export interface UnitTime {
  readonly name: string;
  readonly began: number;
  /** When it was up, or a command that ends by itself had ended; null: neither yet. */
  readonly ended: number | null;
}

/** What is asked of `systemctl show`, of all units. */
export const UNIT_PROPERTIES = [
  "Id",
  "InactiveExitTimestampMonotonic",
  "ActiveEnterTimestampMonotonic",
  "InactiveEnterTimestampMonotonic",
] as const;

/** And of the manager itself: the phases of its boot, which follow each other, by what they are for people. */
const PHASES: readonly (readonly [string, begin: string, end: string])[] = [
  ["loads its security policy", "SecurityStartTimestampMonotonic", "SecurityFinishTimestampMonotonic"],
  ["runs generators", "GeneratorsStartTimestampMonotonic", "GeneratorsFinishTimestampMonotonic"],
  ["reads its units", "UnitsLoadStartTimestampMonotonic", "UnitsLoadFinishTimestampMonotonic"],
];
const FINISH = "FinishTimestampMonotonic";
export const MANAGER_PROPERTIES: readonly string[] = [...PHASES.flatMap(([, begin, end]) => [begin, end]), FINISH];

/** As systemd-analyze(1) reckons it; of names that may be any text. In order of their beginnings. */
export function unitTimes(answer: string): readonly UnitTime[] {
  return answer
    .split("\n\n")
    .flatMap((block) => {
      const fields = fieldsOf(block);
      const [name, exit, active, inactive] = UNIT_PROPERTIES.map((key) => fields.get(key) ?? "");
      const [began, up, over] = [milliseconds(exit), milliseconds(active), milliseconds(inactive)];
      if (name === undefined || name === "" || began === 0) return [];
      return [{ name, began, ended: up >= began ? up : over >= began ? over : null }];
    })
    .sort((a, b) => a.began - b.began);
}

export interface ManagerTimes {
  readonly phases: readonly { readonly name: string; readonly began: number; readonly ended: number | null }[];
  /** When its boot was over; null: it is not. */
  readonly finished: number | null;
}

export function managerTimes(answer: string): ManagerTimes {
  const fields = fieldsOf(answer);
  const finished = milliseconds(fields.get(FINISH));
  return {
    phases: PHASES.flatMap(([name, begin, end]) => {
      const [began, ended] = [milliseconds(fields.get(begin)), milliseconds(fields.get(end))];
      return began === 0 ? [] : [{ name, began, ended: ended >= began ? ended : null }];
    }),
    finished: finished === 0 ? null : finished,
  };
}

function fieldsOf(text: string): ReadonlyMap<string, string> {
  return new Map(
    text.split("\n").map((line) => {
      const at = line.indexOf("=");
      return [line.slice(0, at), line.slice(at + 1)] as const;
    }),
  );
}

/** 0: not yet, or nonsense. */
function milliseconds(microseconds = ""): number {
  return /^\d{1,16}$/.test(microseconds) ? Number(microseconds) / 1000 : 0;
}
