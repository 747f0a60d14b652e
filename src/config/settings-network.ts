import { flag, option, section } from "./setting.ts";
import { absolutePath, boolean, listOf, matching } from "./values.ts";

/** IFNAMSIZ - 1 characters at most, see netdevice(7); no slash, colon or white space. */
const INTERFACE = "[^/:\\s]{1,15}";
const interfaceName = matching(
  new RegExp(`^${INTERFACE}$`),
  "interface name",
  "a name of at most 15 characters without / and :",
);
/** Since systemd 253 an interface may get another name inside: HOST:INSIDE. */
const interfacePair = matching(
  new RegExp(`^${INTERFACE}(:${INTERFACE})?$`),
  "interface name",
  "NAME or NAME:INSIDE, each at most 15 characters",
);
const PORT = "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})";

/** [Network]: what the machine is connected to (systemd.nspawn(5), [Network] section options). */
export const NETWORK = section("Network", {
  Private: {
    takes: "BOOL",
    help: "a network namespace of its own (--private-network), or all of the host's network (--host-network)",
    parse: boolean,
    default: "yes",
    options: [flag("--private-network", "yes"), flag("--host-network", "no")],
    safe: false,
    state: "in effect",
  },
  VirtualEthernet: {
    takes: "BOOL",
    help: "a virtual Ethernet link between host and machine",
    parse: boolean,
    default: "no",
    options: [flag("-n --network-veth", "yes")],
    safe: false,
    state: "not yet",
    comesWith: "networking",
    accepts: [false],
  },
  VirtualEthernetExtra: {
    takes: "NAME[:NAME]",
    help: "one more virtual Ethernet link, with these interface names outside and inside",
    parse: interfacePair,
    list: true,
    options: [option("--network-veth-extra")],
    safe: false,
    state: "not yet",
    comesWith: "networking",
  },
  Interface: {
    takes: "NAME[:NAME]...",
    help: "interfaces of the host to move into the machine",
    parse: listOf(interfacePair),
    list: true,
    options: [option("--network-interface")],
    safe: false,
    state: "not yet",
    comesWith: "networking",
  },
  MACVLAN: {
    takes: "NAME[:NAME]...",
    help: "interfaces of the host to make a macvlan interface of for the machine",
    parse: listOf(interfacePair),
    list: true,
    options: [option("--network-macvlan")],
    safe: false,
    state: "not yet",
    comesWith: "networking",
  },
  IPVLAN: {
    takes: "NAME[:NAME]...",
    help: "interfaces of the host to make an ipvlan interface of for the machine",
    parse: listOf(interfacePair),
    list: true,
    options: [option("--network-ipvlan")],
    safe: false,
    state: "not yet",
    comesWith: "networking",
  },
  Bridge: {
    takes: "NAME",
    help: "bridge of the host that the machine's link is plugged into",
    parse: interfaceName,
    options: [option("--network-bridge")],
    safe: false,
    state: "not yet",
    comesWith: "networking",
  },
  Zone: {
    takes: "NAME",
    help: "network that all machines of the same zone share",
    parse: matching(/^[^/:\s]{1,12}$/, "zone name", "a name of at most 12 characters without / and :"),
    options: [option("--network-zone")],
    safe: false,
    state: "not yet",
    comesWith: "networking",
  },
  // systemd 259.
  NamespacePath: {
    takes: "PATH",
    help: "an existing network namespace to run in",
    parse: absolutePath,
    options: [option("--network-namespace-path")],
    safe: false,
    state: "in effect",
  },
  Port: {
    takes: "[PROTOCOL:]PORT[:PORT]",
    help: "a port of the machine that the host answers on",
    parse: matching(new RegExp(`^((tcp|udp):)?${PORT}(:${PORT})?$`), "port", "[tcp:|udp:]HOSTPORT[:MACHINEPORT]"),
    list: true,
    options: [option("-p --port")],
    safe: false,
    state: "not yet",
    comesWith: "networking",
  },
});
