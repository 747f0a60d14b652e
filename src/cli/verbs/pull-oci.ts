import { type Command, Option } from "commander";
import { checkName } from "../../spec/name.ts";
import { nameOfReference, parseReference } from "../../transfer/oci/reference.ts";
import { newImage } from "../import-verb.ts";
import { addPullOptions, keepDownloadOf, type PullOptions, pullByDaemon } from "../pull-verb.ts";
import { addArchOption, archOf } from "../remote-option.ts";
import type { Context, Runner } from "../verb.ts";

interface Options extends PullOptions {
  readonly arch?: string;
  readonly driver?: "directory" | "stack";
}

export function define(program: Command, run: Runner): void {
  const command = program
    .command("pull-oci")
    .summary("download an image from a registry of OCI images")
    .description(
      "Downloads the layers of an image as Docker and Podman run them, those that no other image has brought, and lays them over each other. Its command, variables, " +
        "user, directory and stop signal become the machine's settings, so that berth run -M NAME runs what the image is for.",
    )
    .argument("<ref>", "REGISTRY/PATH, with :TAG (latest by default) or @DIGEST: docker.io/library/alpine:3.20");
  addArchOption(addPullOptions(command))
    .addOption(
      new Option(
        "--driver <driver>",
        "what keeps it: a plain directory, or a stack of layers that images share (default: what suits the file system best)",
      ).choices(["directory", "stack"]),
    )
    .action(run(pullOci));
}

async function pullOci(context: Context, ref: string, name: string | undefined, options: Options): Promise<number> {
  const reference = parseReference(ref);
  const derived = nameOfReference(reference);
  const image = newImage(name, checkName(derived) === undefined ? derived : "", options);
  const architecture = archOf(options.arch);
  const keepDownload = keepDownloadOf(options);
  return pullByDaemon(context, options, {
    kind: "oci",
    from: ref,
    image,
    architecture,
    driver: options.driver,
    verify: "checksum",
    keepDownload,
  });
}
