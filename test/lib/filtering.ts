/** The settings that make a seccomp policy: none of them, but for what a test gives. */
import type { seccompPolicy } from "../../src/plan/seccomp-policy.ts";
import type { AddressFamilyChange, SystemCallChange } from "../../src/spec/machine-spec.ts";
import { byDefault } from "../../src/spec/source.ts";

interface Lines {
  readonly calls?: readonly SystemCallChange[];
  readonly suppressSync?: boolean;
  readonly families?: readonly AddressFamilyChange[];
}

export function filtering({
  calls = [],
  suppressSync = false,
  families = [],
}: Lines = {}): Parameters<typeof seccompPolicy>[0] {
  return {
    systemCallFilter: calls.map(byDefault),
    suppressSync: byDefault(suppressSync),
    addressFamilies: families.map(byDefault),
  };
}
