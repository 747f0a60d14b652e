import type { Command } from "commander";
import { BerthError, UsageError } from "../../errors.ts";
import { quote } from "../../spec/quote.ts";
import { DaemonClient } from "../daemon-client.ts";
import { allAtOnce } from "../each-machine.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("cancel-transfer")
    .summary("end downloads, imports and exports")
    .description("Ends each transfer; nothing is left of it but what of a download can be gone on with.")
    .argument("<id...>", "their numbers, as list-transfers shows them")
    .action(run(cancelTransfers));
}

async function cancelTransfers({ paths }: Context, words: string[]): Promise<number> {
  const ids = words.map(requireId);
  const client = await DaemonClient.connect(paths);
  if (client === null)
    throw new BerthError(`no transfer ${ids[0]}`, { hint: "berthd does not run", kind: "NoSuchTransfer" });
  try {
    return await allAtOnce(words, async (word) => {
      await client.call("cancelTransfer", { id: requireId(word) });
    });
  } finally {
    client.close();
  }
}

/** @throws UsageError */
function requireId(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new UsageError(`${quote(text)} is no transfer`, "a number that berth list-transfers shows");
}
