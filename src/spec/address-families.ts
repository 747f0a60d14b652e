/** By name the kernel's numbers, in their order (linux/socket.h as of Linux 6.18); numbers without a name were never families. */
const NAMES = `
  UNSPEC UNIX INET AX25 IPX APPLETALK NETROM BRIDGE ATMPVC X25 INET6 ROSE DECnet NETBEUI SECURITY KEY NETLINK PACKET ASH
  ECONET ATMSVC RDS SNA IRDA PPPOX WANPIPE LLC IB MPLS CAN TIPC BLUETOOTH IUCV RXRPC ISDN PHONET IEEE802154 CAIF ALG NFC
  VSOCK KCM QIPCRTR SMC XDP MCTP`;

/** `AF_UNIX` to 1; AF_LOCAL, AF_FILE and AF_ROUTE are second names, as in glibc. */
export const ADDRESS_FAMILIES: ReadonlyMap<string, number> = new Map([
  ...NAMES.trim()
    .split(/\s+/)
    .map((name, number) => [`AF_${name}`, number] as const),
  ["AF_LOCAL", 1],
  ["AF_FILE", 1],
  ["AF_ROUTE", 16],
]);
