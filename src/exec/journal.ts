import { lchownSync, lstatSync, mkdirSync, readlinkSync, rmdirSync, symlinkSync, unlinkSync } from "node:fs";
import { BerthError } from "../errors.ts";

/** Says how to undo what has just been made. */
type Made = (undo: (failed: boolean) => void) => void;

/** The machine's directory of journals on the host, its root's own. What was made new goes again only if the start fails. */
export function makeJournal(path: string, owner: number, made: Made): void {
  takeLinkAway(path, made);
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) {
    mkdirSync(path, 0o755);
    made((failed) => {
      if (failed) rmdirSync(path);
    });
  } else if (!stat.isDirectory()) throw new BerthError(`${path} is no directory`);
  else if (stat.uid !== 0 && stat.uid !== owner) throw new BerthError(`${path} has just become another machine's`);
  if (stat === undefined || stat.uid !== owner) {
    const before = lstatSync(path);
    lchownSync(path, owner, owner);
    made((failed) => {
      if (failed && stat !== undefined) lchownSync(path, before.uid, before.gid);
    });
  }
}

/** A link to the machine's own directory, in the place of an empty one or of another link. */
export function linkJournal(path: string, target: string, made: Made): void {
  takeLinkAway(path, made);
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat !== undefined) {
    rmdirSync(path);
    made((failed) => {
      if (!failed) return;
      mkdirSync(path, stat.mode & 0o7777);
      lchownSync(path, stat.uid, stat.gid);
    });
  }
  symlinkSync(target, path);
  made((failed) => {
    if (failed) unlinkSync(path);
  });
}

function takeLinkAway(path: string, made: Made): void {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return;
  const target = readlinkSync(path);
  unlinkSync(path);
  made((failed) => {
    if (failed) symlinkSync(target, path);
  });
}
