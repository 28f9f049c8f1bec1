//! `firn-image bundle`: plans the bundle and publishes it. All that is asked for is looked up before
//! anything is made.

use super::pull::fetch;
use super::store::Name;
use crate::bundle::identity::{Hostname, Identity};
use crate::bundle::image_config::ImageSettings;
use crate::bundle::init::Init;
use crate::bundle::plan::{Plan, Upper, Volume};
use crate::bundle::private_users::PrivateUsers;
use crate::bundle::publish::publish;
use crate::caller::{self, IdMaps};
use crate::oci::reference::Reference;
use crate::rootfs::users::{User, find_user};
use crate::rootfs::view::{Found, View};
use crate::source::directory::Layers;
use crate::source::image::ImageSource;
use crate::source::nix::closure::Closure;
use crate::source::nix::store_path::{LOGICAL_STORE, Store, StorePath};
use crate::store::bundle_records::BundleRecord;
use crate::store::layers::{self, LayerStore};
use anyhow::{Context, Result, bail};
use clap::Args;
use oci_spec::image::Digest;
use std::path::{Path, PathBuf};

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
    reference: Option<Reference>,

    /// Directory of a root file system; may be repeated, lowest layer first. Those of an image are below
    /// them.
    #[arg(long = "layer", value_name = "DIR", required_unless_present_any = ["closures", "reference"])]
    layers: Vec<PathBuf>,

    /// Store path (or a link to one) whose closure the container sees at /nix/store; may be repeated.
    /// The init that is booted is the first one's.
    #[arg(long = "closure", value_name = "STORE-PATH")]
    closures: Vec<PathBuf>,

    /// List of the closures, one store path a line (from nix-store -qR, or store-paths of closureInfo);
    /// Nix is not needed then.
    #[arg(long, value_name = "FILE", requires = "closures")]
    store_paths: Option<PathBuf>,

    /// Where to make the bundle.
    #[arg(long, short, value_name = "BUNDLE")]
    output: PathBuf,

    /// Where an image's layers are unpacked, once for all bundles, which refer to them there.
    /// Default: /var/lib/firn/layers, of an ordinary user $XDG_DATA_HOME/firn/layers.
    #[arg(long, value_name = "DIR")]
    layer_store: Option<PathBuf>,

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

    /// Working directory inside; the image's, or / if not given.
    #[arg(long, value_name = "DIR", value_parser = parse_cwd)]
    cwd: Option<String>,

    /// Run as this user: a name of the root's /etc/passwd or a number, and likewise a group.
    #[arg(long, value_name = "USER[:GROUP]")]
    user: Option<String>,

    /// Give the container a user namespace: its ids from 0 on are SIZE (65536 if not given) ids of the
    /// host from BASE on, which nobody else should have. Files keep the owners that their layers say.
    /// An ordinary user's containers have the user's ids.
    #[arg(long, value_name = "BASE[:SIZE]", value_parser = PrivateUsers::parse, conflicts_with = "copy")]
    private_users: Option<PrivateUsers>,

    /// Program in the place of the image's entrypoint and cmd; an empty one leaves them out.
    #[arg(long, value_name = "PROGRAM", requires = "reference")]
    entrypoint: Option<String>,

    /// Let setuid programs and file capabilities have an effect, as with podman (no_new_privs is not
    /// set). A root that is booted has them anyway.
    #[arg(long)]
    new_privileges: bool,

    /// The root's init, or COMMAND, sends READY=1 to $NOTIFY_SOCKET itself.
    #[arg(long)]
    notify: bool,

    /// The store on the host: ROOT/nix/store.
    #[arg(long, value_name = "DIR", default_value = LOGICAL_STORE)]
    store: PathBuf,

    /// The firn-init that runs COMMAND; the one beside firn-image if not given. An image's program runs
    /// under firn-init only if this is given.
    #[arg(long, value_name = "PATH")]
    init: Option<PathBuf>,

    /// Replace an existing bundle that firn-image made.
    #[arg(long, short)]
    force: bool,

    /// Run this under firn-init, or with an image in the place of its cmd; without it the root's own init is started:
    /// STORE-PATH/init of a closure, else /init.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Makes the bundle.
pub(super) fn run(args: BundleArgs) -> Result<()> {
    let force = args.force;
    let (plan, used) = make_plan(args)?;
    // Its layers are kept for the bundle before there is one; until then by the store, which is open.
    if let Some(UsedStore { store, record }) = used.as_ref().filter(|_| !plan.copy) {
        store.record_bundle(record)?;
    }
    publish(&plan, force)?;
    Ok(())
}

/// The store whose layers a bundle uses.
struct UsedStore {
    store: LayerStore,
    record: BundleRecord,
}

/// Looks up all that the bundle is made from. The layers of an image are unpacked: the user may be in
/// them.
fn make_plan(args: BundleArgs) -> Result<(Plan, Option<UsedStore>)> {
    // The layers of an image have files of several users; other layers may.
    match &args.reference {
        Some(_) => caller::enter().context("use the layer store")?,
        None => caller::enter_if_mapped()?,
    }
    let (output, name) = resolve_output(&args.output)?;
    if args.init.is_some() && args.command.is_empty() && args.reference.is_none() {
        bail!("--init is for a COMMAND or an image: give a command after --");
    }
    let image = args.reference.as_ref().map(|reference| ImageRoot::open(reference, &args)).transpose()?;
    let store_of_layers = if image.is_none() { store_of(&args.layers, &store_place(&args))? } else { None };
    let settings = image.as_ref().map(|image| &image.settings);
    let below = image.as_ref().map_or(&[][..], |image| &image.layers);
    let layers = Layers::open(&[below, &args.layers].concat())?;
    if let Upper::Directory(path) = &args.upper {
        check_upper(path, &layers)?;
    }
    let store = Store::at(&args.store)?;
    let list = args.store_paths.as_deref();
    let closure = match args.closures.split_first() {
        Some((first, others)) => Some(Closure::find(first, others, list, &store)?),
        None => None,
    };
    let visible = closure.as_ref().map(|closure| (store.dir(), &closure.paths[..]));
    let view = View::open(layers.paths(), visible)?;
    let user = match args.user.as_ref().or(settings.and_then(|settings| settings.user.as_ref())) {
        Some(spec) => find_user(spec, &view)?,
        None => User::default(),
    };
    let id_maps = find_id_maps(args.private_users, &user)?;
    let path = closure.as_ref().map(|closure| closure.roots().flat_map(|root| search_path(root, &view)).collect());
    let command = match &image {
        Some(image) => image.settings.args(args.entrypoint.as_deref(), &args.command)?,
        None => args.command,
    };
    // firn-init notifies when the command was started, or the command itself does.
    let runs_init = !command.is_empty() && (image.is_none() || args.init.is_some());
    let init = match &image {
        _ if runs_init => Init::find_firn_init(args.init, command, args.notify)?,
        Some(_) => Init::Image(command),
        None => {
            let init = closure.as_ref().map_or("/init".into(), |closure| closure.path.join("init"));
            Init::find_own(init, &view)?
        }
    };
    let keeps_volumes = matches!(args.upper, Upper::Directory(_));
    let volumes = settings.map_or(&[][..], |settings| &settings.volumes);
    let volumes = if keeps_volumes { Vec::new() } else { find_volumes(volumes, &view)? };
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let from_image = image.is_some();
    let (settings, used) = match image {
        Some(image) => {
            let reference = args.reference.as_ref().map(ToString::to_string).unwrap_or_default();
            let (bundle, digest, layers) = (output.clone(), image.digest, image.layers);
            let record = BundleRecord { bundle, image: reference, digest, layers };
            (image.settings, Some(UsedStore { store: image.store, record }))
        }
        None => {
            let record =
                || BundleRecord { bundle: output.clone(), layers: layers.paths().into(), ..Default::default() };
            (ImageSettings::default(), store_of_layers.map(|store| UsedStore { store, record: record() }))
        }
    };
    let plan = Plan {
        output,
        identity: Identity::new(&name, args.hostname, &machine),
        layers,
        closure,
        store,
        upper: args.upper,
        copy: args.copy,
        init,
        from_image,
        annotations: settings.annotations,
        volumes,
        new_privileges: args.new_privileges,
        env: settings.env.into_iter().chain(args.env).collect(),
        path: path.unwrap_or_default(),
        terminal: args.terminal,
        cwd: args.cwd.or(settings.cwd).unwrap_or_else(|| "/".into()),
        user,
        notify: args.notify || runs_init,
        os_release: os_release(),
        id_maps,
    };
    Ok((plan, used))
}

/// Those of a container whose program is this user's.
fn find_id_maps(private: Option<PrivateUsers>, user: &User) -> Result<Option<IdMaps>> {
    let of_caller = caller::id_maps();
    let Some(private) = private else { return Ok(of_caller) };
    if of_caller.is_some() {
        bail!(
            "--private-users: an ordinary user's containers have the user's ids: leave it out, or run firn-image as root"
        );
    }
    match private.find_missing([user.uid, user.gid].into_iter().chain(user.groups.iter().copied())) {
        Some(id) => bail!("--private-users: the program's user or group {id} is not in the range: give a larger SIZE"),
        None => Ok(Some(private.maps())),
    }
}

fn store_place(args: &BundleArgs) -> PathBuf {
    args.layer_store.clone().unwrap_or_else(layers::default_place)
}

/// The store of layers, if one of its directories was given as a layer.
fn store_of(layers: &[PathBuf], root: &Path) -> Result<Option<LayerStore>> {
    let Ok(root) = std::fs::canonicalize(root) else { return Ok(None) };
    let is_ours = |layer: &PathBuf| std::fs::canonicalize(layer).is_ok_and(|layer| layer.starts_with(&root));
    Ok(if layers.iter().any(is_ours) { Some(LayerStore::open(&root)?) } else { None })
}

/// The root of an image, unpacked.
struct ImageRoot {
    settings: ImageSettings,
    layers: Vec<PathBuf>,
    /// Of its manifest.
    digest: Option<Digest>,
    store: LayerStore,
}

impl ImageRoot {
    /// Errors that the image's config leads to come before its layers are unpacked.
    fn open(reference: &Reference, args: &BundleArgs) -> Result<Self> {
        let store = LayerStore::open(&store_place(args))?;
        let fetched = match reference {
            Reference::Registry(name) => {
                let name = Name(name.clone());
                fetch(&name, &store)?;
                Some(name.in_store(&store))
            }
            _ => None,
        };
        let source = ImageSource::open(fetched.as_ref().unwrap_or(reference), store.root())?;
        let settings = ImageSettings::new(&source.image.config)?;
        settings.args(args.entrypoint.as_deref(), &args.command)?;
        let layers = source.image.distinct_layers();
        if layers.is_empty() {
            bail!("the image has no layers: its root would be empty");
        }
        let digest = source.image.manifest.as_ref().map(|manifest| manifest.digest().clone());
        Ok(Self { settings, layers: store.unpack(source.blobs(), &layers)?, digest, store })
    }
}

/// Mode and owner of an image's volumes; those that it does not have are made.
fn find_volumes(paths: &[String], view: &View) -> Result<Vec<Volume>> {
    let find = |path: &String| -> Result<Volume> {
        let (mode, uid, gid) = match view.find(Path::new(path))? {
            Found::Directory(Some(node)) => node.owner()?,
            _ => (0o755, 0, 0),
        };
        Ok(Volume { path: path.clone(), mode, uid, gid })
    };
    paths.iter().map(|path| find(path).with_context(|| format!("look up volume {path} in the root"))).collect()
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
fn search_path(root: &StorePath, view: &View) -> Vec<String> {
    ["bin", "sw/bin"]
        .map(|dir| root.join(dir))
        .into_iter()
        .filter(|dir| matches!(view.find(Path::new(dir)), Ok(Found::Directory(_))))
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
