//! `firn-image bundle`: plans the bundle and publishes it. All that is asked for is looked up before
//! anything is made.

use crate::bundle::identity::{Hostname, Identity};
use crate::bundle::init::Init;
use crate::bundle::plan::{Plan, Upper};
use crate::bundle::publish::publish;
use crate::rootfs::users::{User, find_user};
use crate::rootfs::view::{Found, View};
use crate::source::directory::Layers;
use crate::source::nix::closure::Closure;
use crate::source::nix::store_path::{LOGICAL_STORE, Store, StorePath};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  Boot a NixOS system (its init is SYSTEM/init):
    firn-image bundle --closure ./result --output /run/bundles/web
  Run one program of a closure, under firn-init:
    firn-image bundle --closure $(nix build --print-out-paths .#hello) \\
      --output ./hello -- hello --greeting=hi
  Boot a foreign root, a changed layer over a base, and keep what it writes:
    firn-image bundle --layer ./debian --layer ./site --upper /var/lib/web \\
      --output /run/bundles/web
  A shell in a root, with at most 64 MiB of changes:
    firn-image bundle --layer ./debian --upper tmpfs:size=64m --terminal \\
      --output ./shell -- /bin/bash

Then: firn run --bundle ./hello hello
";

/// Make a bundle from layers, a closure, or both.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct BundleArgs {
    /// Directory of a root file system; may be repeated, lowest layer first.
    #[arg(long = "layer", value_name = "DIR", required_unless_present = "closure")]
    layers: Vec<PathBuf>,

    /// Store path (or a link to one) whose closure the container sees at /nix/store.
    #[arg(long, value_name = "STORE-PATH")]
    closure: Option<PathBuf>,

    /// List of the closure of STORE-PATH, one store path a line (from nix-store -qR, or store-paths of
    /// closureInfo); Nix is not needed then.
    #[arg(long, value_name = "FILE", requires = "closure")]
    store_paths: Option<PathBuf>,

    /// Where to make the bundle.
    #[arg(long, short, value_name = "BUNDLE")]
    output: PathBuf,

    /// Where the container's changes go: tmpfs, tmpfs:OPTIONS, or a directory that keeps them.
    #[arg(long, value_name = "UPPER", default_value = "tmpfs", value_parser = parse_upper)]
    upper: Upper,

    /// Copy the root into the bundle, so that any OCI runtime can run it.
    #[arg(long, conflicts_with = "upper")]
    copy: bool,

    /// Host name; the bundle's name if not given.
    #[arg(long, value_name = "NAME", value_parser = Hostname::parse)]
    hostname: Option<Hostname>,

    /// Environment variable; may be repeated.
    #[arg(long = "env", short, value_name = "K=V", value_parser = parse_env)]
    env: Vec<(String, String)>,

    /// Give the container a terminal.
    #[arg(long, short)]
    terminal: bool,

    /// Working directory inside.
    #[arg(long, value_name = "DIR", default_value = "/", value_parser = parse_cwd)]
    cwd: String,

    /// Run as this user: a name of the root's /etc/passwd or a number, and likewise a group.
    #[arg(long, value_name = "USER[:GROUP]")]
    user: Option<String>,

    /// The root's init, or COMMAND, sends READY=1 to $NOTIFY_SOCKET itself.
    #[arg(long)]
    notify: bool,

    /// The store on the host: ROOT/nix/store.
    #[arg(long, value_name = "DIR", default_value = LOGICAL_STORE)]
    store: PathBuf,

    /// The firn-init that runs COMMAND; the one beside firn-image if not given.
    #[arg(long, value_name = "PATH", requires = "command")]
    init: Option<PathBuf>,

    /// Replace an existing bundle that firn-image made.
    #[arg(long, short)]
    force: bool,

    /// Run this under firn-init; without it the root's own init is started:
    /// STORE-PATH/init of a closure, else /init.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Makes the bundle.
pub(super) fn run(args: BundleArgs) -> Result<()> {
    let force = args.force;
    let plan = make_plan(args)?;
    publish(&plan, force)?;
    Ok(())
}

/// Looks up all that the bundle is made from.
fn make_plan(args: BundleArgs) -> Result<Plan> {
    let (output, name) = resolve_output(&args.output)?;
    let layers = Layers::open(&args.layers)?;
    if let Upper::Directory(path) = &args.upper {
        check_upper(path, &layers)?;
    }
    let store = Store::at(&args.store)?;
    let list = args.store_paths.as_deref();
    let closure = args.closure.as_deref().map(|path| Closure::find(path, list, &store)).transpose()?;
    let visible = closure.as_ref().map(|closure| (store.dir(), &closure.paths[..]));
    let view = View::open(layers.paths(), visible)?;
    let user = match &args.user {
        Some(spec) => find_user(spec, &view)?,
        None => User::default(),
    };
    let path = closure.as_ref().map(|closure| search_path(&closure.path, &view));
    // firn-init notifies when the command was started, or the command itself does.
    let notify = args.notify || !args.command.is_empty();
    let init = if args.command.is_empty() {
        let init = closure.as_ref().map_or("/init".into(), |closure| closure.path.join("init"));
        Init::find_own(init, &view)?
    } else {
        Init::find_firn_init(args.init, args.command, args.notify)?
    };
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    Ok(Plan {
        output,
        identity: Identity::new(&name, args.hostname, &machine),
        layers,
        closure,
        store,
        upper: args.upper,
        copy: args.copy,
        init,
        env: args.env,
        path: path.unwrap_or_default(),
        terminal: args.terminal,
        cwd: args.cwd,
        user,
        notify,
        os_release: os_release(),
    })
}

/// The absolute path of the bundle, and its name.
fn resolve_output(output: &Path) -> Result<(PathBuf, String)> {
    let absolute = std::path::absolute(output).context("find the working directory")?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        bail!("output {}: give the name of a new directory", output.display());
    };
    let parent = std::fs::canonicalize(parent)
        .with_context(|| format!("output {}: directory {}", output.display(), parent.display()))?;
    let place = parent.join(name);
    // JSON strings are UTF-8.
    match (place.to_str(), name.to_str()) {
        (Some(_), Some(name)) => Ok((place.clone(), name.into())),
        _ => bail!("output {}: not valid UTF-8", output.display()),
    }
}

/// The directories of a closure that hold programs, for PATH.
fn search_path(closure: &StorePath, view: &View) -> Vec<String> {
    ["bin", "sw/bin"]
        .map(|dir| closure.join(dir))
        .into_iter()
        .filter(|dir| matches!(view.find(Path::new(dir)), Ok(Found::Directory)))
        .collect()
}

/// Overlayfs refuses an upper directory in a layer, and a layer in the upper directory.
fn check_upper(path: &Path, layers: &Layers) -> Result<()> {
    let what = || format!("upper {}", path.display());
    let real = std::fs::canonicalize(path)
        .with_context(what)
        .context("make the directory for the container's changes first")?;
    if !real.is_dir() {
        bail!("{}: not a directory: give tmpfs[:OPTIONS] or a directory", what());
    }
    for layer in layers.paths() {
        if layer.starts_with(&real) || real.starts_with(layer) {
            bail!("{}: overlaps layer {}: choose another directory", what(), layer.display());
        }
    }
    Ok(())
}

/// The host's os-release(5), for /run/host/os-release.
fn os_release() -> Option<Vec<u8>> {
    ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| std::fs::read(path).ok())
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
