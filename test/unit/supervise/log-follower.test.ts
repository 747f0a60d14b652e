import { appendFileSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LogFollower } from "../../../src/supervise/log-follower.ts";

let above: string;
let directory: string;
beforeEach(() => {
  above = mkdtempSync(join(tmpdir(), "follow-"));
  directory = join(above, "m");
  mkdirSync(directory);
});
afterEach(() => rmSync(above, { recursive: true }));

const log = (): string => join(directory, "console.log");

function say(text: string): void {
  const head = Buffer.alloc(16);
  head.writeBigUInt64LE(BigInt(Date.now()) * 1_000_000n);
  head.writeUInt32LE(Buffer.byteLength(text), 8);
  appendFileSync(log(), Buffer.concat([head, Buffer.from(text)]));
}

/** What a boot's end does with it. */
function end(): void {
  mkdirSync(join(above, "history"));
  renameSync(log(), join(above, "history/console.log"));
  rmSync(directory, { recursive: true });
}

function follow() {
  const heard: string[] = [];
  const follower = new LogFollower(directory, {
    onFrames: (frames) => {
      heard.push(...frames.map(({ data }) => data.toString()));
      return true;
    },
    onCaughtUp: () => heard.push("|"),
    onEnd: () => heard.push("end"),
  });
  return { heard, follower };
}

test("what is there comes first, then what is written, over rotations, to the end", async () => {
  say("old");
  renameSync(log(), `${log()}.1`);
  say("there");
  const { heard } = follow();
  await expect.poll(() => heard).toEqual(["old", "there", "|"]);
  say("one");
  await expect.poll(() => heard.at(-1)).toBe("one");
  for (const text of ["two", "three"]) {
    renameSync(log(), `${log()}.1`);
    say(text);
    await expect.poll(() => heard.at(-1)).toBe(text);
  }
  end();
  await expect.poll(() => heard).toEqual(["old", "there", "|", "one", "two", "three", "end"]);
});

test("a log that is not there yet is waited for", async () => {
  const { heard } = follow();
  await expect.poll(() => heard).toEqual(["|"]);
  say("first");
  await expect.poll(() => heard).toEqual(["|", "first"]);
  end();
  await expect.poll(() => heard).toEqual(["|", "first", "end"]);
});

test("all is heard of a boot whose record is removed before anything of it was read", async () => {
  for (const rotated of [false, true]) {
    say("first");
    if (rotated) renameSync(log(), `${log()}.1`);
    say("last");
    const { heard } = follow();
    if (rotated) rmSync(`${log()}.1`);
    end();
    await expect.poll(() => heard).toEqual(["first", "last", "|", "end"]);
    rmSync(join(above, "history"), { recursive: true });
    mkdirSync(directory);
  }
});

test("the last words are heard, however soon after them the boot's record is removed", async () => {
  for (let round = 0; round < 20; round++) {
    say("first");
    const { heard } = follow();
    await expect.poll(() => heard).toEqual(["first", "|"]);
    // All of it in one turn, and in several.
    say("last");
    if (round % 2 === 1) await new Promise(setImmediate);
    end();
    await expect.poll(() => heard).toEqual(["first", "|", "last", "end"]);
    rmSync(join(above, "history"), { recursive: true });
    mkdirSync(directory);
  }
});

test("the next boot's log, in a directory of the same name, is another one", async () => {
  say("first");
  const { heard } = follow();
  await expect.poll(() => heard).toEqual(["first", "|"]);
  end();
  mkdirSync(directory);
  say("of the next boot");
  await expect.poll(() => heard).toEqual(["first", "|", "end"]);
});

test("who takes no more is given no more, until he does; closed, nothing comes", async () => {
  let takes = false;
  const heard: string[] = [];
  const follower = new LogFollower(directory, {
    onFrames: (frames) => {
      heard.push(...frames.map(({ data }) => data.toString()));
      return takes;
    },
    onCaughtUp: () => undefined,
    onEnd: () => heard.push("end"),
  });
  say("one");
  await expect.poll(() => heard).toEqual(["one"]);
  say("two");
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(heard).toEqual(["one"]);
  takes = true;
  follower.resume();
  await expect.poll(() => heard).toEqual(["one", "two"]);
  follower.close();
  end();
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(heard).toEqual(["one", "two"]);
});
