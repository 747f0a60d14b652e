import { makeEvent, type OnProgress, type StageName } from "./stage.ts";

/** mmdebstrap's own lines (all begin with `I: `) that begin a stage. Unknown ones are passed over. */
const BEGINNINGS: readonly (readonly [RegExp, StageName])[] = [
  [/^I: running (?:apt-get update|--setup-hook)/, "index"],
  [/^I: downloading packages/, "download"],
  [/^I: extracting archives/, "extract"],
  [/^I: installing essential/, "essential"],
  [/^I: installing remaining/, "install"],
  [/^I: cleaning/, "clean"],
  [/^I: copying the tree/, "unload"],
];

/** apt and dpkg say each of these once a package; the name ends at a space or at its architecture. */
const STEPS = [
  { line: /^Get:\d+ \S+ \S+ \S+ ([a-z0-9][a-z0-9+.-]+) /, verb: "downloading", stages: ["download", "install"] },
  { line: /^Unpacking ([a-z0-9][a-z0-9+.-]+)/, verb: "unpacking", stages: ["essential", "install"] },
  { line: /^Setting up ([a-z0-9][a-z0-9+.-]+)/, verb: "setting up", stages: ["essential", "install"] },
] as const;

/**
 * Follows `mmdebstrap --verbose` line by line. A package counts as done when it is set up (downloaded, in the stage
 * that only downloads), while the bar also moves with each step before.
 */
export function followMmdebstrap(onProgress: OnProgress): (line: string) => void {
  let stage: StageName = "index";
  let total: number | null = null;
  let steps = 0;
  let done = 0;

  const begin = (name: StageName) => {
    // dpkg installs what was downloaded before, so that count goes on into the next stages.
    if (name === "install") total = null;
    [stage, steps, done] = [name, 0, 0];
    onProgress(makeEvent(stage, { total: countsPackages(stage) ? total : null }));
  };

  return (line) => {
    const beginning = BEGINNINGS.find(([pattern]) => pattern.test(line));
    if (beginning !== undefined) return begin(beginning[1]);
    const count = /^\d+ upgraded, (\d+) newly installed/.exec(line)?.[1];
    if (count !== undefined && (stage === "download" || stage === "install")) total = Number(count);

    for (const { line: pattern, verb, stages } of STEPS) {
      const item = pattern.exec(line)?.[1];
      if (item === undefined || !stages.some((name) => name === stage)) continue;
      steps++;
      if (verb === "setting up" || stage === "download") done++;
      const stepsEach = STEPS.filter((step) => step.stages.some((name) => name === stage)).length;
      if (total !== null) done = Math.min(done, total);
      onProgress(
        makeEvent(stage, { done, total, item: `${verb} ${item}`, part: total ? steps / (total * stepsEach) : 0 }),
      );
    }
  };
}

function countsPackages(stage: StageName): boolean {
  return stage === "download" || stage === "essential" || stage === "install";
}
