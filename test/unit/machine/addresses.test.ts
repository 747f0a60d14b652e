import { expect, test } from "vitest";
import { parseFibTrie, parseIfInet6, showAddress } from "../../../src/machine/addresses.ts";

const TRIE = `Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
     +-- 192.0.2.0/24 2 0 2
        |-- 192.0.2.0
           /24 link UNICAST
        |-- 192.0.2.2
           /28 link UNICAST
           /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
Local:
  +-- 192.0.2.0/24 2 0 2
        |-- 192.0.2.2
           /32 host LOCAL
        |-- 10.1.0.3
           /32 host LOCAL
`;

test("IPv4: the host's own ones, each once, and not those of its loopback", () => {
  expect(parseFibTrie(TRIE).map(showAddress)).toEqual(["192.0.2.2", "10.1.0.3"]);
  expect(parseFibTrie("")).toEqual([]);
});

test("IPv6: what reaches further first; not the loopback's, nor what is no longer or not yet to be used", () => {
  const text = [
    "00000000000000000000000000000001 01 80 10 80       lo",
    "fe8000000000000000fc00fffe000001 04 40 20 80     eth0",
    "fd000000000000000000000000000002 04 40 00 82     eth0",
    "fd000000000000000000000000000003 04 40 00 20     eth0",
    "fd000000000000000000000000000004 04 40 00 40     eth0",
    "",
  ].join("\n");
  expect(parseIfInet6(text).map(showAddress)).toEqual(["fd00::2", "fe80::fc:ff:fe00:1"]);
  expect(parseIfInet6("no such thing\n")).toEqual([]);
});
