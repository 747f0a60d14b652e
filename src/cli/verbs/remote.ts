import type { Command } from "commander";
import { BerthError, UsageError } from "../../errors.ts";
import { printable } from "../../spec/quote.ts";
import { addRemote, type Remote, readRemotes, removeRemote } from "../../transfer/remotes.ts";
import { showUrl } from "../../transfer/url.ts";
import { print, printJson, say } from "../output.ts";
import { table } from "../table.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("remote")
    .summary("list, add or remove servers of images")
    .description(
      "Shows the image servers that berth pull knows by name (list), makes one known (add NAME URL) or forgets it (remove NAME).",
    )
    .argument("[list|add|remove]", "what to do", "list")
    .argument("[name]", "of add and remove: what it is called before the colon")
    .argument("[url]", "of add: its address")
    .option("--json", "of list: print as JSON")
    .action(run(remote));
}

interface Options {
  readonly json?: boolean;
}

async function remote({ paths }: Context, what: string, name?: string, url?: string, { json = false }: Options = {}) {
  if (what === "list" && name === undefined) list(readRemotes(paths), json);
  else if (what === "add" && name !== undefined && url !== undefined) {
    requireRoot(what);
    addRemote(paths, name, url);
  } else if (what === "remove" && name !== undefined && url === undefined) {
    requireRoot(what);
    removeRemote(paths, name);
  } else
    throw new UsageError(
      `berth remote ${printable(what)}: that is not how it is used`,
      "list, add NAME URL, remove NAME",
    );
  return 0;
}

function list(remotes: readonly Remote[], json: boolean): void {
  if (json)
    printJson(
      remotes.map(({ name, url, builtIn }) => ({ name, url: showUrl(url), protocol: "simplestreams", builtIn })),
    );
  else if (remotes.length === 0) say("no remotes\n");
  else
    print(
      table(
        ["NAME", "URL", "PROTOCOL", "FROM"],
        remotes.map(({ name, url, builtIn }) => [name, showUrl(url), "simplestreams", builtIn ? "berth" : "settings"]),
      ),
    );
}

function requireRoot(what: string): void {
  if (process.geteuid?.() === 0) return;
  throw new BerthError(`berth remote ${what} is for root only`, { hint: "run this as root", kind: "AccessDenied" });
}
