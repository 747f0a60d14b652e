import { BerthError } from "../errors.ts";

const SHOWN_LINES = 8;
/** That fails nothing: dpkg redraws its counter, every state of which is a line here, and apt has no terminal to log. */
const NOISE = /^\(Reading database|^E: Can not write log /;
const ERROR = /^(?:E: |Err:|dpkg: error)/;

/** What the output says, and what to do about it. The first that is found counts. */
const CAUSES: readonly (readonly [RegExp, string])[] = [
  [/No space left on device/, "the disk (or memory, where the tree is built) is full: make room and try again"],
  [
    /NO_PUBKEY|not signed|couldn't be verified|EXPKEYSIG/,
    "the archive's key is not known here: apt-get install --only-upgrade debian-archive-keyring",
  ],
  [
    /Release file .* is (?:expired|not valid yet)/,
    "the mirror is out of date or this host's clock is wrong: see `date`, or choose another mirror in /etc/apt",
  ],
  [/does not have a Release file|404 +Not Found/, "the mirror does not carry that release: choose another in /etc/apt"],
  [
    /Could(?:n't| not) resolve|Temporary failure resolving|Could not connect|Network is unreachable|Connection (?:timed out|refused)|Cannot initiate the connection/,
    "the mirror cannot be reached: see that the network is there (apt-get update on this host tells)",
  ],
  [
    /Unable to locate package|has no installation candidate/,
    "a package of the recipe, or a version of the lock file, is not (any more) in that release",
  ],
  [
    /mounted with (?:noexec|nodev|nosuid)|test-dev-null/,
    "the file system is mounted with noexec or nodev: build on another one (BERTH_CACHE)",
  ],
  [
    /cannot (?:mount|unshare)|(?:mount|unshare).*(?:Operation not permitted|permission denied)/i,
    "mounting is not permitted here: berth needs CAP_SYS_ADMIN to bootstrap",
  ],
];

/** `tail` is the end of what mmdebstrap, apt and dpkg wrote; control characters are gone from it already. */
export function mmdebstrapFailure(what: string, status: string, tail: readonly string[]): BerthError {
  const lines = tail.filter((line) => line.trim() !== "" && !NOISE.test(line));
  const cause = CAUSES.find(([pattern]) => lines.some((line) => pattern.test(line)));
  const errors = lines.filter((line) => ERROR.test(line));
  const first = errors.find((line) => cause?.[0].test(line)) ?? errors[0] ?? lines.find((line) => /^W: /.test(line));
  const said = first === undefined ? "" : `: ${first.replace(/^E: /, "")}`;
  const end = lines.slice(-SHOWN_LINES).map((line) => `\n  ${line}`);
  return new BerthError(`${what} failed (mmdebstrap ${status})${said}${end.join("")}`, { hint: cause?.[1] });
}
