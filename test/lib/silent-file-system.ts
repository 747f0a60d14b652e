/**
 * A file system that stops answering, of a directory or of one file that can't be read: FUSE with a server that has read what it was asked and never replies. Nothing ends
 * a wait for it but its own end, not even SIGKILL.
 *
 *   using silent = await silentFileSystem(directory);    // mounts it; answers what is needed to look at its root
 *   silent.hush();                                       // from here on
 */
import { execFileSync } from "node:child_process";
import { closeSync, constants, openSync, read, statSync, writeSync } from "node:fs";
import { promisify } from "node:util";

const INIT = 26;
const GETATTR = 3;
const READ = 15;
const ENOSYS = 38;

export interface SilentFileSystem extends Disposable {
  hush(): void;
  /** Requests that got no answer. */
  unanswered(): number;
}

export async function silentFileSystem(path: string): Promise<SilentFileSystem> {
  const fd = openSync("/dev/fuse", constants.O_RDWR);
  const isFile = statSync(path).isFile();
  const options = `fd=3,rootmode=${isFile ? "100644" : "40000"},user_id=0,group_id=0,allow_other`;
  execFileSync("mount", ["-i", "-t", "fuse", "-o", options, "silent", path], {
    stdio: ["ignore", "pipe", "pipe", fd],
  });
  let quiet = false;
  let ended = false;
  let unanswered = 0;
  const serve = async (): Promise<void> => {
    const buffer = Buffer.alloc(1 << 20);
    while (!ended) {
      // struct fuse_in_header: len, opcode, unique, ...
      await promisify(read)(fd, buffer, 0, buffer.length, null);
      const [opcode, unique] = [buffer.readUInt32LE(4), buffer.readBigUInt64LE(8)];
      if (quiet || opcode === READ) unanswered++;
      else writeSync(fd, reply(unique, opcode, isFile));
    }
  };
  const served = serve().catch(() => undefined);
  return {
    hush: () => {
      quiet = true;
    },
    unanswered: () => unanswered,
    [Symbol.dispose]: () => {
      ended = true;
      // Whatever waits is told that it has gone; the read that is under way too, and its fd can be closed then.
      execFileSync("umount", ["-f", "-l", path]);
      void served.then(() => closeSync(fd));
    },
  };
}

/** linux/fuse.h: struct fuse_out_header, then struct fuse_init_out or fuse_attr_out. */
function reply(unique: bigint, opcode: number, isFile: boolean): Buffer {
  const body = opcode === INIT ? initBody() : opcode === GETATTR ? attributeBody(isFile) : Buffer.alloc(0);
  const header = Buffer.alloc(16);
  header.writeUInt32LE(16 + body.length, 0);
  header.writeInt32LE(body.length === 0 ? -ENOSYS : 0, 4);
  header.writeBigUInt64LE(unique, 8);
  return Buffer.concat([header, body]);
}

function initBody(): Buffer {
  const body = Buffer.alloc(64);
  body.writeUInt32LE(7, 0);
  body.writeUInt32LE(31, 4);
  body.writeUInt32LE(1 << 16, 20); // max_write
  return body;
}

/** Of a directory or a file of root's, that has to be asked again every time. */
function attributeBody(isFile: boolean): Buffer {
  const body = Buffer.alloc(104);
  body.writeBigUInt64LE(1n, 16);
  body.writeBigUInt64LE(10_000n, 24); // size
  body.writeUInt32LE(isFile ? 0o100644 : 0o40755, 76);
  body.writeUInt32LE(2, 80);
  return body;
}
