//! The arguments of `firn-image bundle`.

use crate::bundle::identity::Hostname;
use crate::bundle::plan::Upper;
use crate::bundle::private_users::PrivateUsers;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::source::nix::store_path::LOGICAL_STORE;
use clap::Args;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  Boot a NixOS system (its init is SYSTEM/init):
    firn-image bundle --closure ./result --output /run/bundles/web
  Run one program of a closure, under firn-init:
    firn-image bundle --closure $(nix build --print-out-paths .#hello) \\
      --output ./hello -- hello --greeting=hi
  The same with the programs of another closure in PATH:
    firn-image bundle --closure ./hello --closure ./debug-tools --output ./hello -- hello
  Boot a foreign root, a changed layer over a base, and keep what it writes:
    firn-image bundle --layer ./debian --layer ./site --upper /var/lib/web \\
      --output /run/bundles/web
  Run an image of a registry; what it writes goes to a tmpfs:
    firn-image bundle docker://docker.io/library/nginx:1.29 --output /run/bundles/nginx
  The same from an image layout:
    firn-image bundle oci:./images:web --output /run/bundles/web
  Another command of an image, for any OCI runtime:
    firn-image bundle oci-archive:./web.tar --copy -o ./web -- web --check
  Boot a root in a user namespace: its root is user 300000 of the host:
    firn-image bundle --layer ./debian --private-users 300000 --output /run/bundles/web
  A shell in a root, with at most 64 MiB of changes:
    firn-image bundle --layer ./debian --upper tmpfs:size=64m --terminal \\
      --output ./shell -- /bin/bash

Then: firn run --bundle ./hello hello
";

/// Make a bundle from an image, layers, a closure, or several of them.
///
/// The program of an image is process 1, as with podman run: its entrypoint with its cmd, or with
/// COMMAND in the place of that; in its working directory, as its user. If it is a system's init
/// (/sbin/init, systemd), it is booted like one of a layer.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct BundleArgs {
    /// An image: docker://NAME[:TAG|@DIGEST], oci:DIR[:TAG|@DIGEST], oci-archive:FILE[:TAG|@DIGEST] or
    /// docker-archive:FILE[:NAME].
    #[arg(value_name = "REFERENCE")]
    pub(super) reference: Option<Reference>,

    /// Of an index, the image for this platform instead of this machine's: [linux/]ARCHITECTURE[/VARIANT].
    #[arg(long, value_name = "PLATFORM", requires = "reference")]
    pub(super) platform: Option<Platform>,

    /// Directory of a root file system; may be repeated, lowest layer first. Those of an image are below
    /// them.
    #[arg(long = "layer", value_name = "DIR", required_unless_present_any = ["closures", "reference"])]
    pub(super) layers: Vec<PathBuf>,

    /// Store path (or a link to one) whose closure the container sees at /nix/store; may be repeated.
    /// The init that is booted is the first one's.
    #[arg(long = "closure", value_name = "STORE-PATH")]
    pub(super) closures: Vec<PathBuf>,

    /// List of the closures, one store path a line (from nix-store -qR, or store-paths of closureInfo);
    /// Nix is not needed then.
    #[arg(long, value_name = "FILE", requires = "closures")]
    pub(super) store_paths: Option<PathBuf>,

    /// Where to make the bundle.
    #[arg(long, short, value_name = "BUNDLE")]
    pub(super) output: PathBuf,

    /// Where an image's layers are unpacked, once for all bundles, which refer to them there.
    /// Default: /var/lib/firn/layers, of an ordinary user $XDG_DATA_HOME/firn/layers.
    #[arg(long, value_name = "DIR")]
    pub(super) layer_store: Option<PathBuf>,

    /// Where the container's changes go: tmpfs, tmpfs:OPTIONS, or a directory that keeps them.
    #[arg(long, value_name = "UPPER", default_value = "tmpfs", value_parser = parse_upper)]
    pub(super) upper: Upper,

    /// Copy the root into the bundle, so that any OCI runtime can run it.
    #[arg(long, conflicts_with = "upper")]
    pub(super) copy: bool,

    /// Host name; the bundle's name if not given.
    #[arg(long, value_name = "NAME", value_parser = Hostname::parse)]
    pub(super) hostname: Option<Hostname>,

    /// Environment variable; may be repeated.
    #[arg(long = "env", short, value_name = "K=V", value_parser = parse_env)]
    pub(super) env: Vec<(String, String)>,

    /// Give the container a terminal.
    #[arg(long, short)]
    pub(super) terminal: bool,

    /// Working directory inside; the image's, or / if not given.
    #[arg(long, value_name = "DIR", value_parser = parse_cwd)]
    pub(super) cwd: Option<String>,

    /// Run as this user: a name of the root's /etc/passwd or a number, and likewise a group.
    #[arg(long, value_name = "USER[:GROUP]")]
    pub(super) user: Option<String>,

    /// Give the container a user namespace: its ids from 0 on are SIZE (65536 if not given) ids of the
    /// host from BASE on, which nobody else should have. Files keep the owners that their layers say.
    /// An ordinary user's containers have the user's ids.
    #[arg(long, value_name = "BASE[:SIZE]", value_parser = PrivateUsers::parse, conflicts_with = "copy")]
    pub(super) private_users: Option<PrivateUsers>,

    /// Program in the place of the image's entrypoint and cmd; an empty one leaves them out.
    #[arg(long, value_name = "PROGRAM", requires = "reference")]
    pub(super) entrypoint: Option<String>,

    /// Let setuid programs and file capabilities have an effect, as with podman (no_new_privs is not
    /// set). A root that is booted has them anyway.
    #[arg(long)]
    pub(super) new_privileges: bool,

    /// The root's init, or COMMAND, sends READY=1 to $NOTIFY_SOCKET itself.
    #[arg(long)]
    pub(super) notify: bool,

    /// The store on the host: ROOT/nix/store.
    #[arg(long, value_name = "DIR", default_value = LOGICAL_STORE)]
    pub(super) store: PathBuf,

    /// The firn-init that runs COMMAND; the one beside firn-image if not given. An image's program runs
    /// under firn-init only if this is given.
    #[arg(long, value_name = "PATH")]
    pub(super) init: Option<PathBuf>,

    /// Replace an existing bundle that firn-image made.
    #[arg(long, short)]
    pub(super) force: bool,

    /// Print what the bundle was made of as JSON.
    #[arg(long)]
    pub(super) json: bool,

    /// Run this under firn-init, or with an image in the place of its cmd; without it the root's own init is started:
    /// STORE-PATH/init of a closure, else /init.
    #[arg(last = true, value_name = "COMMAND")]
    pub(super) command: Vec<String>,
}

fn parse_upper(text: &str) -> Result<Upper, String> {
    match text.split_once(':') {
        _ if text == "tmpfs" => Ok(Upper::Tmpfs(None)),
        Some(("tmpfs", "")) => Err("give options after tmpfs:, as in tmpfs:size=64m".into()),
        Some(("tmpfs", options)) => Ok(Upper::Tmpfs(Some(options.into()))),
        _ if text.is_empty() => Err("give tmpfs, tmpfs:OPTIONS or a directory".into()),
        _ => std::path::absolute(text).map(Upper::Directory).map_err(|error| error.to_string()),
    }
}

fn parse_env(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("give NAME=VALUE".into()),
    }
}

fn parse_cwd(text: &str) -> Result<String, String> {
    if text.starts_with('/') { Ok(text.into()) } else { Err("give an absolute path".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uppers_are_parsed() {
        assert_eq!(parse_upper("tmpfs"), Ok(Upper::Tmpfs(None)));
        assert_eq!(parse_upper("tmpfs:size=1m,x"), Ok(Upper::Tmpfs(Some("size=1m,x".into()))));
        assert_eq!(parse_upper("/a:b"), Ok(Upper::Directory("/a:b".into())));
        assert!(matches!(parse_upper("tmpfsx"), Ok(Upper::Directory(path)) if path.is_absolute()));
        assert!(parse_upper("tmpfs:").is_err());
        assert!(parse_upper("").is_err());
    }

    #[test]
    fn variables_have_names() {
        assert_eq!(parse_env("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(parse_env("A="), Ok(("A".into(), String::new())));
        assert!(parse_env("A").is_err());
        assert!(parse_env("=b").is_err());
    }
}
