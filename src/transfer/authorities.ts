import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { getCACertificates, setDefaultCACertificates } from "node:tls";

/** Where administrators of Debian and Fedora put the certificates of authorities of their own. */
const PLACES = ["/usr/local/share/ca-certificates", "/etc/pki/ca-trust/source/anchors"];
const PEM = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

let done = false;

/** From here on this process trusts what the host's administrator does, beside those that Node comes with. */
export function trustLocalAuthorities(): void {
  if (done) return;
  done = true;
  const local = localAuthorities(PLACES);
  if (local.length > 0) setDefaultCACertificates([...getCACertificates("default"), ...local]);
}

export function localAuthorities(places: readonly string[]): readonly string[] {
  return places.flatMap((place) => certificateFiles(place).flatMap((path) => readCertificates(path)));
}

function certificateFiles(place: string): readonly string[] {
  try {
    const names = readdirSync(place, { recursive: true, encoding: "utf8" });
    return names.filter((name) => /\.(crt|pem)$/.test(name)).map((name) => join(place, name));
  } catch {
    return [];
  }
}

/** What can't be read, or is none, is for update-ca-certificates(8) to complain about. */
function readCertificates(path: string): readonly string[] {
  try {
    return readFileSync(path, "utf8").match(PEM) ?? [];
  } catch {
    return [];
  }
}
