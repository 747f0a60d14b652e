import { type Interface, method } from "../bus/interface.ts";
import { notSupported } from "./access.ts";

const CREATE = ["name", "id", "service", "class", "leader", "root_directory"] as const;
const PATH = ["path"] as const;

/** What systemd-nspawn and the like tell machined of machines of their own. berthd has its own machines only. */
export function registration(): NonNullable<Interface["methods"]> {
  const refuse = (): string => {
    throw notSupported("berthd manages machines that it starts itself, and takes no others.");
  };
  return {
    CreateMachine: method({
      in: "sayssusa(sv)",
      out: "o",
      inNames: [...CREATE, "scope_properties"],
      outNames: PATH,
      handler: refuse,
    }),
    CreateMachineWithNetwork: method({
      in: "sayssusaia(sv)",
      out: "o",
      inNames: [...CREATE, "ifindices", "scope_properties"],
      outNames: PATH,
      handler: refuse,
    }),
    RegisterMachine: method({ in: "sayssus", out: "o", inNames: CREATE, outNames: PATH, handler: refuse }),
    RegisterMachineWithNetwork: method({
      in: "sayssusai",
      out: "o",
      inNames: [...CREATE, "ifindices"],
      outNames: PATH,
      handler: refuse,
    }),
    UnregisterMachine: method({
      unprivileged: true,
      in: "s",
      out: "",
      inNames: ["name"],
      handler() {
        refuse();
      },
    }),
  };
}
