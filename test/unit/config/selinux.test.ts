import { expect, test } from "vitest";
import { contextOption } from "../../../src/config/selinux.ts";
import { UsageError } from "../../../src/errors.ts";

test.each(["u:r:t", "system_u:system_r:svirt_lxc_net_t:s0", "u:r:t:s0-s15:c0.c1023,c5"])("%s is a context", (text) => {
  expect(contextOption("-Z", text)).toEqual({ value: text, source: { from: "option", option: `-Z=${text}` } });
});

test.each([
  "",
  "u",
  "u:r",
  "u:r:",
  ":r:t",
  "u::t",
  "u:r:t:",
  "u:r:t s0",
  "u:r:t\n",
  "u:r:\u00e9",
  `u:r:${"t".repeat(4096)}`,
])("%j is none", (text) => {
  expect(() => contextOption("-Z", text)).toThrow(UsageError);
});
