import koffi from "koffi";

export const getpid: () => number = koffi.load("libc.so.6").func("int getpid()");
