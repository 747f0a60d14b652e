import { AF_UNIX, MSG_NOSIGNAL, SOCK_CLOEXEC, SOCK_DGRAM } from "./constants.ts";
import { closeQuietly } from "./files.ts";
import { bind, check } from "./libc.ts";
import { unixAddress } from "./sockets.ts";

const socketCall = bind("int socket(int domain, int type, int protocol)");
const sendtoCall = bind("long sendto(int fd, void *data, size_t length, int flags, void *address, uint length2)");

/** Tells a service manager, sd_notify(3). `address`: NOTIFY_SOCKET as it was given. @throws SysError */
export function notifyService(address: string, text: string): void {
  const fd = check(socketCall(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
  try {
    const data = Buffer.from(text);
    const name = unixAddress(address.replace(/^@/, "\0"));
    check(sendtoCall(fd, data, data.length, MSG_NOSIGNAL, name, name.length), "sendto", { path: address });
  } finally {
    closeQuietly(fd);
  }
}
