import type { LaunchPlan } from "../plan/step.ts";
import { Assembler, type Image } from "../stage/assembler.ts";
import { HEADER_WORDS } from "../stage/stage-abi.ts";
import { Compilation, type Mark, type StepMarks } from "./compilation.ts";
import { type CompiledPlan, compile, compileStep, compileWith, isForeground } from "./compile.ts";
import type { HostFds } from "./host-fds.ts";

/** A plan, and the text of each of its steps with everything that is in it. */
export interface PlanTexts {
  readonly plan: LaunchPlan;
  readonly texts: readonly string[];
}

/**
 * Programs of machines that are started together, which differ in some steps of a hundred: a name, ids. Of such a program only
 * those steps are compiled, into a copy of the first one's image; that takes a tenth of the time.
 */
export class AlikePrograms {
  #pattern: Pattern | undefined;

  /** Its image is good until the next one is asked for: it is written to where a stage has it before that. */
  compile(of: PlanTexts, arch: "x64" | "arm64", host: HostFds, filter: Buffer): CompiledPlan {
    const { plan } = of;
    const key = JSON.stringify([arch, isForeground(plan), { ...host, named: [...host.named] }]);
    const pattern = this.#pattern;
    this.#pattern = undefined; // should anything be thrown
    const variant = pattern?.isOf(key, filter) ? pattern.variant(of) : undefined;
    this.#pattern = variant === undefined ? new Pattern(key, of, arch, host, filter) : pattern;
    return {
      image: variant ?? (this.#pattern as Pattern).image,
      /** For the report of a failure, which is seldom. */
      get programs() {
        return compile(plan, arch, host, filter).programs;
      },
    };
  }

  /** When no more are to come soon. */
  forget(): void {
    this.#pattern = undefined;
  }
}

/** A program that others are made from. */
class Pattern {
  readonly #key: string;
  readonly #of: PlanTexts;
  readonly #compilation: Compilation;
  readonly #marks = new Map<number, StepMarks>();
  readonly #end: Mark;
  /** The steps of the stage that were another in any program since: they are compiled for each. */
  readonly #varying = new Set<number>();
  readonly image: Image;

  /** `key`: all that a program is made from but for the steps and the filter. */
  constructor(key: string, of: PlanTexts, arch: "x64" | "arm64", host: HostFds, filter: Buffer) {
    this.#key = key;
    this.#of = { plan: of.plan, texts: of.texts }; // a launch forgets them
    const assembler = new Assembler(arch, HEADER_WORDS * 8);
    this.#compilation = new Compilation(assembler, arch, host, filter);
    this.image = compileWith(this.#compilation, of.plan, { marks: this.#marks }).image;
    this.#end = this.#compilation.mark();
  }

  isOf(key: string, filter: Buffer): boolean {
    return key === this.#key && filter.equals(this.#compilation.filter);
  }

  /** The program of another plan; undefined: what is different does not fit in the place of what is here. */
  variant({ plan: { steps }, texts }: PlanTexts): Image | undefined {
    const { plan, texts: ours } = this.#of;
    if (steps.length !== plan.steps.length) return undefined;
    for (let index = 0; index < steps.length; index++) {
      if (texts[index] === ours[index]) continue;
      const [old, step] = [plan.steps[index], steps[index]];
      if (step === undefined || old?.phase !== step.phase || old.kind !== step.kind) return undefined;
      if (step.phase !== "host") this.#varying.add(index);
    }
    const { asm } = this.#compilation;
    asm.beginVariant();
    for (const index of this.#varying) {
      const [step, marks] = [steps[index], this.#marks.get(index)];
      if (step === undefined || marks === undefined) return undefined;
      const replaced = this.#compilation.again(marks, this.#end, () => compileStep(step, this.#compilation));
      if (replaced === undefined) return undefined;
      for (const operations of replaced) asm.replace(operations);
    }
    return asm.image();
  }
}
