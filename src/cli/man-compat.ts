import type { Setting } from "../config/setting.ts";
import { COMMAND_OPTIONS, optionName, SETTINGS_BY_SECTION } from "../config/settings.ts";
import { NSPAWN_OPTIONS, type NspawnOption, OTHER_NSPAWN_OPTIONS } from "./nspawn-options.ts";

/** A test that shows a setting or option to do what its documentation says: it has `Key=` or `--option` in its title. */
export interface Proof {
  /** The file's name without folders. */
  readonly file: string;
  readonly title: string;
}

/** `in effect`; or of an option that only refuses, what it says; undefined for one that berth does not know. */
export type OptionState = (name: string) => string | undefined;

/** Tests by what they prove: `Boot=`, `--boot`, `-U`. */
export type Proofs = ReadonlyMap<string, readonly Proof[]>;

/** berth-nspawn(7) in the markup of man-roff.ts: all of systemd.nspawn(5) and systemd-nspawn(1), with its state here. */
export function compatPage(stateOf: OptionState, proofs: Proofs): string {
  const sections = [...SETTINGS_BY_SECTION.keys()].map(
    (section) => `## Settings of [${section}]\n\n${settingItems(section, proofs)}`,
  );
  const options = (list: readonly NspawnOption[]): string =>
    list.map((option) => optionItem(option, stateOf, proofs)).join("\n\n");
  return `
# NAME

berth-nspawn - what of systemd-nspawn berth does

# DESCRIPTION

Every setting of *systemd.nspawn*(5) and every option of *systemd-nspawn*(1), of systemd 257 and of later versions as far as
they are known, each with what becomes of it in this version of *berth*(1) and the tests that show it. What is in effect is
described in *berth.nspawn*(5) and *berth*(1), where also the defaults are that differ. What is not in effect is refused by
name, never ignored, unless it asks for what berth does anyway.

The section _[Machine]_ is berth's own: *systemd-nspawn*(1) warns of it, and passes over it.

One difference shows in no setting: of the variables of the Container Interface _container_ is _berth_ and not _systemd-nspawn_,
and _/run/host/container-manager_ says the same.

The tests are in _test/integration_ of berth's sources; one that has a setting or an option in its title is listed here. This
page is made from the tables that berth works by, and a test fails when it is out of date, or when something is in effect
that no test shows.

# SETTINGS

${sections.join("\n\n")}

# OPTIONS

Those without a test of their own set what a setting sets, and are shown by the tests of that setting.

## Options of systemd 257

${options(NSPAWN_OPTIONS)}

## Options of later versions, and old names

${options(OTHER_NSPAWN_OPTIONS)}

# SEE ALSO

*berth*(1), *berth.nspawn*(5), *systemd-nspawn*(1), *systemd.nspawn*(5)
`;
}

function settingItems(section: string, proofs: Proofs): string {
  const rows = [...(SETTINGS_BY_SECTION.get(section)?.values() ?? [])];
  return rows
    .map((setting) => {
      const { key, state } = setting;
      const text = state === "in effect" ? `In effect. ${proofText(proofs.get(`${key}=`))}` : notYetText(setting);
      return `*${key}=*\n: ${text}`;
    })
    .join("\n\n");
}

function optionItem(option: NspawnOption, stateOf: OptionState, proofs: Proofs): string {
  const names = [option.short, option.long].filter((name) => name !== undefined);
  const states = names.map(stateOf);
  const term = names.map((name) => `*${name}*`).join(", ");
  const own = names.flatMap((name) => proofs.get(name) ?? []);
  const state = states.find((each) => each !== undefined);
  if (state === undefined) return `${term}\n: Not known to berth.`;
  const settings = COMMAND_OPTIONS.find(({ form }) => names.includes(optionName(form)))?.settings ?? [];
  const [setting] = settings;
  const sets = setting && `*${settings.length > 1 ? "Limit..." : setting.key}=*`;
  if (state !== "in effect")
    return `${term}\n: ${setting === undefined ? sentence(state) : `${notYetText(setting)} Sets ${sets}.`}`;
  const shown = own.length === 0 && sets !== undefined ? "" : ` ${proofText(own)}`;
  return `${term}\n: In effect.${sets === undefined ? "" : ` Sets ${sets}.`}${shown}`;
}

/** The further work that a setting waits for; the others are of this release's. */
function notYetText({ comesWith }: Setting): string {
  return comesWith === undefined ? "Not yet." : `Not yet: comes with ${comesWith}.`;
}

/** So many tests are named; what is much used, such as --console, has more. */
const PROOFS_MAX = 4;

function proofText(proofs: readonly Proof[] = []): string {
  if (proofs.length === 0) return "No test shows it.";
  const named = proofs.slice(0, PROOFS_MAX).map(({ file, title }) => `_${file}_: "${plain(title)}"`);
  const more = proofs.length - named.length;
  return `Shown by ${named.join("; ")}${more > 0 ? `; and ${more} more` : ""}.`;
}

/** What the markup or ASCII can't say. */
function plain(title: string): string {
  return title.replace(/(?<![\w/])[*_]|[*_](?!\w)|`|[^\x20-\x7e]/g, "?");
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`;
}
