import type { Interface } from "./interface.ts";
import { INTROSPECTABLE, PEER, PROPERTIES } from "./standard-interfaces.ts";

const DOCTYPE = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "https://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
`;

/** A name on the bus and what can be called under it. */
export interface Service {
  readonly name: string;
  readonly interfaces: readonly Interface[];
}

/**
 * Who may own the names and call what, as a file for system.d/ of a system bus: root all, others what is marked
 * `unprivileged`, and reading. No rule denies: that is the default of a system bus, and one that denied a name would deny
 * all other names of its owner, too. Handlers look at the caller once more; what the bus stops does not even wake the daemon.
 */
export function policyFile(services: readonly Service[]): string {
  return `${DOCTYPE}<busconfig>\n${services.map(policiesOf).join("")}</busconfig>\n`;
}

export function policiesOf({ name, interfaces }: Service): string {
  const writable = interfaces.some(({ properties = {} }) =>
    Object.values(properties).some(({ write, unprivileged }) => write && unprivileged),
  );
  const open = [
    [INTROSPECTABLE],
    [PEER],
    ...["Get", "GetAll", ...(writable ? ["Set"] : [])].map((member) => [PROPERTIES, member]),
    ...interfaces.flatMap((one) =>
      Object.entries(one.methods ?? {})
        .filter(([, { unprivileged }]) => unprivileged)
        .map(([member]) => [one.name, member]),
    ),
  ];
  const rows = open.map(
    ([target, member]) =>
      `    <allow send_destination="${name}" send_interface="${target}"${member ? ` send_member="${member}"` : ""}/>\n`,
  );
  return `  <policy user="root">
    <allow own="${name}"/>
    <allow send_destination="${name}"/>
    <allow receive_sender="${name}"/>
  </policy>
  <policy context="default">
${rows.join("")}    <allow receive_sender="${name}"/>
  </policy>
`;
}

/** The whole configuration of a bus of our own: as that of Debian's system bus, without activation or other directories. */
export function busConfig(options: {
  readonly address: string;
  /** Becomes this user once it listens; undefined: stays root. */
  readonly user: string | undefined;
  readonly services: readonly Service[];
}): string {
  const bus = 'send_destination="org.freedesktop.DBus"';
  const user = options.user === undefined ? "" : `  <user>${options.user}</user>\n`;
  return `${DOCTYPE}<busconfig>
  <type>system</type>
${user}  <listen>${options.address}</listen>
  <auth>EXTERNAL</auth>
  <syslog/>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow ${bus} send_interface="org.freedesktop.DBus"/>
    <allow ${bus} send_interface="${INTROSPECTABLE}"/>
    <allow ${bus} send_interface="${PROPERTIES}"/>
    <deny ${bus} send_interface="org.freedesktop.DBus" send_member="UpdateActivationEnvironment"/>
    <deny ${bus} send_interface="org.freedesktop.DBus.Debug.Stats"/>
    <deny ${bus} send_interface="org.freedesktop.systemd1.Activator"/>
  </policy>
  <policy user="root">
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow ${bus} send_interface="org.freedesktop.DBus.Monitoring"/>
    <allow ${bus} send_interface="org.freedesktop.DBus.Debug.Stats"/>
  </policy>
${options.services.map(policiesOf).join("")}</busconfig>
`;
}
