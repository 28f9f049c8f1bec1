//! `firn-image bundle`: plans the bundle and publishes it. All that is asked for is looked up before
//! anything is made.

use super::bundle_args::BundleArgs;
use super::pull::fetch;
use super::store::Name;
use crate::bundle::identity::Identity;
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
use crate::source::nix::store_path::{Store, StorePath};
use crate::store::bundle_records::BundleRecord;
use crate::store::layers::{self, LayerStore};
use anyhow::{Context, Result, bail};
use oci_spec::image::Digest;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Makes the bundle.
pub(super) fn run(args: BundleArgs) -> Result<()> {
    let (force, json) = (args.force, args.json);
    let (plan, used) = make_plan(args)?;
    // Its layers are kept for the bundle before there is one; until then by the store, which is open.
    if let Some(UsedStore { store, record }) = used.as_ref().filter(|_| !plan.copy) {
        store.record_bundle(record)?;
    }
    publish(&plan, force)?;
    if json {
        let text = format!("{:#}\n", describe(&plan, used.as_ref()));
        std::io::stdout().write_all(firn::log::printable(&text).as_bytes()).context("print")?;
    }
    Ok(())
}

fn describe(plan: &Plan, used: Option<&UsedStore>) -> Value {
    let image = used.map(|used| &used.record).filter(|record| !record.image.is_empty());
    let roots: Vec<_> = plan.closure.iter().flat_map(|closure| closure.roots()).map(ToString::to_string).collect();
    json!({
        "bundle": plan.output,
        "image": image.map(|record| &record.image),
        "digest": image.and_then(|record| record.digest.as_ref()),
        "layers": plan.layers.paths(),
        "closures": roots,
        "storePaths": plan.closure.as_ref().map_or(0, |closure| closure.paths.len()),
        "copy": plan.copy,
    })
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
        let platform = args.platform.as_ref();
        let fetched = match reference {
            Reference::Registry(name) => {
                let name = Name(name.clone());
                fetch(&name, platform, &store)?;
                Some(name.in_store(&store))
            }
            _ => None,
        };
        let source = ImageSource::open(fetched.as_ref().unwrap_or(reference), platform, store.root())?;
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
