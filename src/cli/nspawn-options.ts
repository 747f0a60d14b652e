/** An option of systemd-nspawn(1), by its names with their dashes. */
export interface NspawnOption {
  readonly long: string | undefined;
  readonly short: string | undefined;
}

/**
 * What systemd 257 documents, in the order of systemd-nspawn(1); a test compares it with `systemd-nspawn --help`. For
 * berth's own options see start-options.ts: what stands here and not there is not known to berth.
 */
const DOCUMENTED = `
  -h --help
  --version
  -q --quiet
  --no-pager
  --no-ask-password
  --settings
  --cleanup
  -D --directory
  --template
  -x --ephemeral
  -i --image
  --image-policy
  --oci-bundle
  --read-only
  --volatile
  --root-hash
  --root-hash-sig
  --verity-data
  --pivot-root
  -a --as-pid2
  -b --boot
  --chdir
  -E --setenv
  -u --user
  --kill-signal
  --notify-ready
  --suppress-sync
  -M --machine
  --hostname
  --uuid
  -S --slice
  --property
  --register
  --keep-unit
  --private-users
  -U
  --private-users-ownership
  --private-network
  --network-interface
  --network-macvlan
  --network-ipvlan
  -n --network-veth
  --network-veth-extra
  --network-bridge
  --network-zone
  --network-namespace-path
  -p --port
  --capability
  --drop-capability
  --ambient-capability
  --no-new-privileges
  --system-call-filter
  -Z --selinux-context
  -L --selinux-apifs-context
  --rlimit
  --oom-score-adjust
  --cpu-affinity
  --personality
  --resolv-conf
  --timezone
  --link-journal
  -j
  --bind
  --bind-ro
  --inaccessible
  --tmpfs
  --overlay
  --overlay-ro
  --bind-user
  --console
  -P --pipe
  --background
  --set-credential
  --load-credential
`;

/** What versions after 257 added, as far as it is known, and the obsolete names that are still understood. */
const OTHERS = `
  --uid
  --private-users-chown
  --private-users-delegate
  --restrict-address-families
  --forward-journal
  --forward-journal-max-use
  --forward-journal-keep-free
  --forward-journal-max-file-size
  --forward-journal-max-files
  --bind-user-shell
  --bind-user-group
  --mstack
  --system
`;

export const NSPAWN_OPTIONS: readonly NspawnOption[] = parse(DOCUMENTED);
export const OTHER_NSPAWN_OPTIONS: readonly NspawnOption[] = parse(OTHERS);

function parse(text: string): readonly NspawnOption[] {
  const lines = text.trim().split("\n");
  return lines.map((line) => {
    const names = line.trim().split(" ");
    return {
      long: names.find((name) => name.startsWith("--")),
      short: names.find((name) => !name.startsWith("--")),
    };
  });
}
