import {
  AT_FDCWD,
  MOVE_MOUNT_F_EMPTY_PATH,
  O_PATH,
  OPEN_FLAGS,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_SYMLINKS,
} from "../sys/constants.ts";
import type { Compilers } from "./compilation.ts";

export const OVERLAY: Compilers<"combine-layers"> = {
  /**
   * As make-overlay. Layers get short names in a tmpfs of their own, which is the root for that: names that a user gave
   * would have to be quoted as this kernel version wants it. So the upper one is where we are, and its work directory is
   * beside that.
   */
  "combine-layers": ({ fd, lower, upper, flags }, c) => {
    const { asm, apivfs } = c;
    const place = c.makeFileSystem(apivfs, "tmpfs", ["mode=700"], []);
    asm.call(apivfs, "move_mount", [place, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH]);
    const layers = [...lower.map((layer, index) => [String(index), layer] as const), ...named(upper?.fd)];
    for (const [name, layer] of layers) {
      asm.call(apivfs, "mkdirat", [place, name, 0o700]);
      asm.call(apivfs, "move_mount", [c.fd(layer), "", place, name, MOVE_MOUNT_F_EMPTY_PATH]);
    }
    asm.call(apivfs, "fchdir", [place]);
    asm.call(apivfs, "chroot", ["."]);
    const options = [`lowerdir=${lower.map((_, index) => `/${index}`).join(":")}`, "userxattr"];
    if (upper !== null) {
      const data = asm.register();
      const how = c.how(O_PATH | OPEN_FLAGS[c.arch].O_DIRECTORY, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
      asm.call(apivfs, "openat2", [place, `${UPPER}/${upper.data}`, how, 24], { into: data });
      asm.call(apivfs, "fchdir", [data]);
      asm.call(apivfs, "close", [data]);
      options.push("upperdir=.", `workdir=../${upper.work}`);
    }
    const mount = c.makeFileSystem(apivfs, "overlay", options, flags);
    asm.call(apivfs, "close", [place]);
    asm.pseudo(apivfs, "result", [mount], { into: c.named(fd) });
  },
};

const UPPER = "upper";

function named(fd: string | undefined): readonly (readonly [string, string])[] {
  return fd === undefined ? [] : [[UPPER, fd]];
}
