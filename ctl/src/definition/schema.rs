//! What a definition may say: the names, types and defaults of NixOS's `containers.<name>`, and
//! firn's own beside them. The JSON Schema is made from these types, and definitions are checked
//! by it, so there is one place for each option. What a text within an option means (an
//! address, a time) is checked in `check/`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Containers, as in firn.toml.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// Where an editor finds this schema; of no further meaning.
    #[serde(rename = "$schema", default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The containers by name. A name has letters, digits, `_`, `.` and `-`.
    pub containers: BTreeMap<String, Definition>,
}

/// One container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
// serde can't refuse unknown fields beside flattened ones; the schema does.
#[schemars(extend("additionalProperties" = false))]
pub struct Definition {
    // The root.
    /// Native container: store path of a NixOS system, or a link to one, which is resolved at each
    /// start. The container sees of the store what the path needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// File that lists what `path` needs, one store path a line, so that no Nix is needed here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_paths: Option<String>,
    /// Native container: flake reference `URI#ATTRIBUTE` of a NixOS configuration; the attribute is
    /// `container` where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flake: Option<String>,
    /// Foreign container: directories of root file systems, a higher index being a higher layer, all
    /// under a tmpfs. They provide `/init`.
    #[serde(rename = "rootFS", skip_serializing_if = "Vec::is_empty")]
    pub root_fs: Vec<String>,
    /// Build the root anew at each start and leave nothing behind.
    #[serde(skip_serializing_if = "is_false")]
    pub ephemeral: bool,
    /// Foreign container: keep what it writes for good, and not just until the host reboots.
    #[serde(skip_serializing_if = "is_false")]
    pub persistent: bool,
    /// Root directory of a container that systemd-nspawn has run: at the first start it becomes what this
    /// one has written. It is moved, and a link is left in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_from: Option<String>,
    /// Host name; the container's name where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,

    // Network.
    /// A network namespace of its own, which alone has only `lo`.
    #[serde(skip_serializing_if = "is_false")]
    pub private_network: bool,
    /// The addresses of the veth pair, `ve-NAME` on the host and `eth0` inside.
    #[serde(flatten)]
    pub link: Link,
    /// Further veth pairs, by the name that they have inside.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_veths: BTreeMap<String, ExtraVeth>,
    /// Network interfaces of the host that move into the container, and back when it stops.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// Network interfaces of the host that get a macvlan, `mv-INTERFACE`, in the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub macvlans: Vec<String>,
    /// Path of a network namespace to join.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_namespace: Option<String>,
    /// Give the container the host's resolv.conf.
    #[serde(skip_serializing_if = "is_default")]
    pub copy_resolv_conf: OnByDefault,
    /// What extra-container adds to the network.
    #[serde(skip_serializing_if = "is_default")]
    pub extra: Extra,

    // Files.
    /// What of the host is shown in the container, by mount point.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub bind_mounts: BTreeMap<String, BindMount>,
    /// Binds in short: `SOURCE[:MOUNT POINT]`, writable. A relative source counts from the project's
    /// directory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// The same, read-only.
    #[serde(rename = "volumes-ro", skip_serializing_if = "Vec::is_empty")]
    pub volumes_ro: Vec<String>,
    /// Places for a tmpfs: `PATH[:OPTIONS]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tmpfs: Vec<String>,

    // Rights.
    /// The tun device, and CAP_NET_ADMIN.
    #[serde(skip_serializing_if = "is_false")]
    pub enable_tun: bool,
    /// Device nodes that the container has and may use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_devices: Vec<AllowedDevice>,
    /// Capabilities beside the usual ones, with `CAP_` or without.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_capabilities: Vec<String>,
    /// User namespace: `no`; `identity`; `pick`, a range of ids of its own; or the first id of one.
    #[serde(skip_serializing_if = "is_default")]
    pub private_users: PrivateUsers,

    // Life cycle.
    /// Start it when the host boots.
    #[serde(skip_serializing_if = "is_false")]
    pub auto_start: bool,
    /// Restart a container that runs where a change needs it; else the change is pending.
    #[serde(skip_serializing_if = "is_default")]
    pub restart_if_changed: OnByDefault,
    /// What follows its end.
    #[serde(skip_serializing_if = "is_default")]
    pub restart: Restart,
    /// Time until it must be ready, as in `1min 30s`, `90` or `infinity` (systemd.time(7)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_start_sec: Option<Time>,
    /// Time that it has to stop, before it is killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_stop_sec: Option<Time>,
    /// Containers that must be ready before this one starts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// Whether its init says READY=1 on NOTIFY_SOCKET; systemd and NixOS do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<bool>,
    /// So many containers `NAME-1`, `NAME-2`, …; `%i` in any text of the definition is the number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub instances: Option<u32>,
    /// Command that runs in the container after an update; the update is undone where it fails.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub check: Vec<String>,

    // Limits.
    /// Memory, in bytes or as in `512M` (a power of 1024).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Processors, as in 1.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// Processes and threads; the kernel has room for 4194304 (proc_sys_kernel(5), pid_max).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_194_304))]
    pub pids: Option<u32>,

    // What goes in, and who.
    /// Environment of init.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// systemd credentials, each from a file.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub credentials: BTreeMap<String, String>,
    /// Public keys that log in as a user of the container, over the host's sshd.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ssh_keys: BTreeMap<String, Vec<String>>,
    /// The Nix daemon's socket and database in the container.
    #[serde(skip_serializing_if = "is_false")]
    pub nix_daemon: bool,
    /// The container's journal among the host's.
    #[serde(skip_serializing_if = "is_false")]
    pub link_journal: bool,
    /// Merged into the generated config.json (RFC 7396), for what no option says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oci_config: Option<serde_json::Map<String, serde_json::Value>>,
}

/// A veth pair or the end of one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Link {
    /// IPv4 address of the host's side; the gateway where there is a bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_address: Option<String>,
    /// IPv6 address of the host's side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_address6: Option<String>,
    /// IPv4 address inside, with `/PREFIX` or without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_address: Option<String>,
    /// IPv6 address inside, with `/PREFIX` or without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_address6: Option<String>,
    /// Bridge of the host that the host's side joins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_bridge: Option<String>,
    /// MAC address inside; made from the name where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_mac_address: Option<String>,
    /// Ports of the host that lead into the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forward_ports: Vec<ForwardPort>,
}

/// A further veth pair.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("additionalProperties" = false))]
pub struct ExtraVeth {
    #[serde(flatten)]
    pub link: Link,
    /// Name on the host, where it is not that inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_interface: Option<String>,
}

/// A port of the host that leads into the container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForwardPort {
    /// Transport protocol.
    #[serde(default)]
    pub protocol: Protocol,
    /// Port on the host.
    #[schemars(range(min = 1))]
    pub host_port: u16,
    /// Port in the container; that of the host where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub container_port: Option<u16>,
    /// Address of the host on which it is; all where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_address: Option<String>,
}

/// Transport protocol of a forwarded port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

/// A place of the host that the container sees.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BindMount {
    /// Mount point, where it is not the option's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount_point: Option<String>,
    /// File or directory of the host; the mount point where it is left out. A relative one counts
    /// from the project's directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
    /// Whether the container may not write to it.
    #[serde(skip_serializing_if = "is_default")]
    pub is_read_only: OnByDefault,
    /// Make a directory of the host where there is none.
    #[serde(skip_serializing_if = "is_false")]
    pub create: bool,
    /// Whose the files are where the container has a user namespace (systemd-nspawn(1), --bind).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idmap: Option<Idmap>,
}

/// How ids of a bind are mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Idmap {
    Noidmap,
    Idmap,
    Rootidmap,
    Owneridmap,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AllowedDevice {
    /// Its path on the host and inside.
    pub node: String,
    /// What is allowed: `r` reading, `w` writing, `m` making the node.
    pub modifier: String,
    /// Leave it out where the host has no such device.
    #[serde(default, skip_serializing_if = "is_false")]
    pub optional: bool,
}

/// What extra-container adds to the network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Extra {
    /// As in `10.250.1`: sets privateNetwork, hostAddress PREFIX.1 and localAddress PREFIX.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_prefix: Option<String>,
    /// Reach the outside through the host's address.
    #[serde(rename = "enableWAN", skip_serializing_if = "is_false")]
    pub enable_wan: bool,
    /// Reach by localAddress what listens on the container's 127.0.0.1 by TCP: for everyone who reaches that
    /// address, who may then do what programs trust local users with.
    #[serde(skip_serializing_if = "is_false")]
    pub expose_localhost: bool,
    /// Let what comes from hostAddress through the container's own firewall.
    #[serde(skip_serializing_if = "is_false")]
    pub firewall_allow_host: bool,
    /// A container with `config` that firnctl evaluates: sshd in it, and a key of firnctl's for its root, with
    /// which `cssh` in `firnctl shell` logs in.
    #[serde(rename = "enableSSH", skip_serializing_if = "is_false")]
    pub enable_ssh: bool,
}

/// `no`, `identity`, `pick` or the first id of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("default" = "no"))]
pub enum PrivateUsers {
    Kind(UserNamespace),
    First(#[schemars(range(max = 4_294_967_295_u32))] u32),
}

impl Default for PrivateUsers {
    fn default() -> Self {
        PrivateUsers::Kind(UserNamespace::No)
    }
}

/// A user namespace without a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UserNamespace {
    No,
    Identity,
    Pick,
}

/// A switch that is on where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("default" = true))]
pub struct OnByDefault(pub bool);

impl Default for OnByDefault {
    fn default() -> Self {
        OnByDefault(true)
    }
}

/// When a container that has ended is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("default" = "on-failure"))]
pub enum Restart {
    No,
    #[default]
    OnFailure,
    Always,
}

/// A time: seconds, or a text of systemd.time(7).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Time {
    Seconds(#[schemars(range(max = 4_294_967_295_u32))] u32),
    Text(String),
}

/// A number of bytes, or a text with a unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Size {
    Bytes(u64),
    Text(String),
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
