import { bind } from "./libc.ts";

const mallocTrimCall = bind("int malloc_trim(size_t pad)");

/** Gives memory that malloc(3) keeps for later back to the kernel. */
export function trimMemory(): void {
  mallocTrimCall(0);
}
