import { describe, expect, test } from "vitest";
import { BerthError } from "../../../src/errors.ts";
import { asBerthError, LaunchError, meansGone, stageFailure } from "../../../src/exec/launch-error.ts";
import { buildPlan } from "../../../src/plan/build.ts";
import type { StepKind } from "../../../src/plan/step.ts";
import { SysError } from "../../../src/sys/errno.ts";
import { goldenInput } from "../../golden/inputs.ts";

const plan = buildPlan(goldenInput("everything"));

function indexOf(kind: StepKind): number {
  return plan.steps.findIndex((step) => step.kind === kind);
}

/** As the assembler remembers an operation of a step. */
function op(name: "execve" | "mkdirat" | "read", kind: StepKind, ...args: string[]) {
  return { number: 0, name, arguments: args, options: {}, step: indexOf(kind) };
}

describe("the error of a launch", () => {
  test("names machine, step, cause and the setting that asked for it", () => {
    const index = indexOf("set-hostname");
    const error = new LaunchError(plan, index, new SysError("sethostname", 1, { subject: "web-1.example.org" }));
    expect(error.message).toBe(
      `starting everything failed at step #${index} init (set the hostname to web-1.example.org): ` +
        "sethostname web-1.example.org: EPERM: operation not permitted [/etc/berth/machines/everything.nspawn:7]",
    );
    expect(error.step?.kind).toBe("set-hostname");
  });

  test("names no setting for what nobody set, and no step outside of the plan", () => {
    const cause = new BerthError("it broke", { hint: "mend it" });
    expect(new LaunchError(plan, indexOf("lock-mounts"), cause).message).toMatch(/: it broke$/);
    expect(new LaunchError(plan, -1, cause)).toMatchObject({
      message: "starting everything failed at it broke",
      hint: "mend it",
      step: undefined,
    });
  });
});

describe("a report of the stage", () => {
  test("is the failed call with its strings", () => {
    const error = stageFailure(plan, op("mkdirat", "attach", "mount"), -30);
    expect(error.index).toBe(indexOf("attach"));
    expect(error.message).toContain("mkdirat mount: EROFS");
    expect(error.exitStatus).toBe(1);
  });

  test.each([
    [-2, 127, /ENOENT/],
    [-13, 126, /EACCES/],
    [-8, 126, /ENOEXEC/],
  ])("of execve has a shell's exit status: %i -> %i", (result, status, message) => {
    const error = stageFailure(plan, op("execve", "execute", "/sbin/init"), result);
    expect(error.exitStatus).toBe(status);
    expect(error.message).toMatch(message);
    expect(error.hint).toBeDefined();
  });

  test.each([0, 1, -32, -104])("of a message that ended with %i is somebody else's end", (result) => {
    expect(meansGone(result)).toBe(true);
    expect(stageFailure(plan, op("read", "await"), result).message).toContain("the other side ended");
  });

  test.each([-1, -2, -5, -22])("of %i is a failure of its own", (result) => {
    expect(meansGone(result)).toBe(false);
  });
});

describe("any other error", () => {
  test("of node's file system calls is named like ours", () => {
    const cause = Object.assign(new Error("x"), { errno: -28, syscall: "mkdir", path: "/run/berth/running/m" });
    expect(asBerthError(cause).message).toBe("mkdir /run/berth/running/m: ENOSPC: no space left on device");
  });

  test("is passed on, as a defect", () => {
    const defect = new TypeError("undefined is not a function");
    expect(() => asBerthError(defect)).toThrow(defect);
  });
});
