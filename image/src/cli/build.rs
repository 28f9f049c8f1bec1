//! `firn-image build`: plans the image and builds it. All that is asked for is looked up before
//! anything is written.

use crate::build::accounts;
use crate::build::options::{Options, parse_base};
use crate::build::plan::{LayerSource, Plan};
use crate::build::publish::{Built, publish};
use crate::caller;
use crate::layer::compress::Compression;
use crate::layer::generated::{self, GeneratedFile};
use crate::layer::plan;
use crate::oci::platform::Platform;
use crate::oci::target::Target;
use crate::source::directory::Layers;
use crate::source::nix::closure::Graph;
use crate::source::nix::database;
use crate::source::nix::store_path::{LOGICAL_STORE, Store, StorePath};
use crate::store::layer_cache::LayerCache;
use crate::store::scratch::Scratch;
use anyhow::{Context, Result, bail};
use clap::Args;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  A program of a closure:
    firn-image build --closure ./result --entrypoint hello --output oci:images:hello
    podman run --rm oci:images:hello
  A root with a changed layer over it, as one file:
    firn-image build --layer ./debian --layer ./site --cmd /usr/sbin/nginx \\
      --port 80/tcp --output oci-archive:site.tar:latest
  To a registry; layers that it has from an earlier build are neither packed nor sent:
    firn-image build --closure ./result --entrypoint hello --output docker://registry.example/hello:2

The same input gives the same bytes: store paths are owned by root and have the time 1, and the
image says that it was created then, or at SOURCE_DATE_EPOCH. Files of --layer keep their times;
those later than SOURCE_DATE_EPOCH get that one.
";

/// Build an OCI image from layers, closures, or both.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct BuildArgs {
    /// Directory of a root file system; may be repeated, lowest layer first. Becomes one layer;
    /// whiteouts of overlayfs become those of images.
    #[arg(long = "layer", value_name = "DIR", required_unless_present = "closures")]
    layers: Vec<PathBuf>,

    /// Store path (or a link to one) whose closure the image has, above all directories; may be
    /// repeated.
    #[arg(long = "closure", value_name = "STORE-PATH")]
    closures: Vec<PathBuf>,

    /// List of the closures' store paths; Nix is not needed then. With references (registration of
    /// closureInfo, exportReferencesGraph, nix path-info --json --recursive) store paths are put
    /// into layers as without this option; without (nix-store -qR) in the order of their names.
    #[arg(long, value_name = "FILE", requires = "closures")]
    store_paths: Option<PathBuf>,

    /// The store on the host: ROOT/nix/store.
    #[arg(long, value_name = "DIR", default_value = LOGICAL_STORE)]
    store: PathBuf,

    /// Where to write the image: oci:DIR:TAG, oci-archive:FILE[:TAG] or docker://[REGISTRY/]NAME[:TAG]. Other
    /// images in DIR stay.
    #[arg(long, short, value_name = "TARGET")]
    output: Target,

    /// Layers at most. The store paths that most others need get one each, and the rest share the
    /// last one. Docker takes 127.
    #[arg(long, value_name = "N", default_value = "100")]
    max_layers: NonZeroUsize,

    /// Store paths that share a layer, with no others; may be repeated.
    #[arg(long = "layer-group", value_name = "STORE-PATH,…", value_delimiter = None)]
    groups: Vec<String>,

    /// The image has Nix's database of its store paths, so that Nix in it knows them. Needs sqlite3.
    #[arg(long, requires = "closures", conflicts_with = "store_paths")]
    registration: bool,

    /// JSON with users, groups and files of /etc, which become the uppermost layer.
    #[arg(long, value_name = "FILE")]
    etc: Option<PathBuf>,

    /// gzip, zstd or none.
    #[arg(long, default_value = "gzip", value_parser = parse_compression)]
    compression: Compression,

    /// Layers that are written at the same time; the number of processors if not given. The image
    /// does not depend on it.
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// JSON with the "config" object of an image configuration (Entrypoint, Cmd, Env, …), to which
    /// the options below add.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// A word of the entrypoint; may be repeated, first word first. Drops the Cmd of --config.
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    entrypoint: Vec<String>,

    /// A word of the command (the entrypoint's arguments); may be repeated, first word first.
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    cmd: Vec<String>,

    /// Environment variable; may be repeated. PATH has the closures' bin directories if it is not
    /// set.
    #[arg(long, short, value_name = "K=V", value_parser = parse_pair)]
    env: Vec<(String, String)>,

    /// User that the program runs as: a name of the image's /etc/passwd or a number.
    #[arg(long, value_name = "USER[:GROUP]")]
    user: Option<String>,

    /// Working directory inside.
    #[arg(long, value_name = "DIR", value_parser = parse_inside)]
    workdir: Option<String>,

    /// Signal that asks the program to stop, such as SIGTERM or SIGRTMIN+3.
    #[arg(long, value_name = "SIGNAL", value_parser = parse_signal)]
    stop_signal: Option<String>,

    /// Label; may be repeated.
    #[arg(long, value_name = "K=V", value_parser = parse_pair)]
    label: Vec<(String, String)>,

    /// Port that the program listens on, as in 80, 80/tcp or 53/udp; may be repeated.
    #[arg(long, value_name = "PORT", value_parser = parse_port)]
    port: Vec<String>,

    /// Directory inside whose data belong to the container, not to the image; may be repeated.
    #[arg(long, value_name = "DIR", value_parser = parse_inside)]
    volume: Vec<String>,

    /// What the image's programs are for, if not this machine: [linux/]ARCHITECTURE[/VARIANT].
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,

    /// Pack every layer, also those that the layout has from an earlier build.
    #[arg(long)]
    no_cache: bool,

    /// Print the image's digest and layers as JSON.
    #[arg(long)]
    json: bool,
}

/// Builds the image, and prints the digest of its manifest.
pub(super) fn run(args: BuildArgs) -> Result<()> {
    let json = args.json;
    if !args.layers.is_empty() {
        // Their files may belong to subordinate ids of the caller.
        caller::enter_if_mapped()?;
    }
    let plan = make_plan(args)?;
    let built = publish(&plan)?;
    for path in built.layers.iter().flat_map(|layer| &layer.left_out) {
        let path = path.to_string_lossy();
        eprintln!("firn-image: warning: {}: a socket, which images can't have", firn::log::printable(&path));
    }
    let text = if json { format!("{:#}\n", describe(&plan, &built)) } else { format!("{}\n", built.digest) };
    std::io::stdout().write_all(text.as_bytes()).context("print")
}

fn describe(plan: &Plan, built: &Built) -> serde_json::Value {
    let layers = plan.layers.iter().zip(&built.layers).map(|(source, layer)| {
        let (directory, paths) = match source {
            LayerSource::Directory(directory) => (Some(directory), None),
            LayerSource::Generated { .. } => (None, None),
            LayerSource::StorePaths(paths) => (None, Some(paths.iter().map(StorePath::to_string).collect::<Vec<_>>())),
        };
        serde_json::json!({
            "digest": layer.blob.digest, "size": layer.blob.size, "diffId": layer.blob.diff_id,
            "reused": layer.reused, "directory": directory, "storePaths": paths,
        })
    });
    serde_json::json!({ "digest": built.digest, "layers": layers.collect::<Vec<_>>() })
}

/// Looks up all that the image is made from.
fn make_plan(args: BuildArgs) -> Result<Plan> {
    let epoch = source_date_epoch()?;
    let base = args.config.as_ref().map(|path| {
        let text = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
        parse_base(&text).with_context(|| format!("image config {}", path.display()))
    });
    let base = base.transpose()?.unwrap_or_default();
    let store = Store::at(&args.store)?;
    let directories = Layers::open(&args.layers)?;
    let mut layers: Vec<_> = directories.paths().iter().cloned().map(LayerSource::Directory).collect();
    let above = Vec::from_iter(args.etc.as_deref().map(read_etc).transpose()?);
    let reserved = above.len() + usize::from(args.registration);
    let limit = args.max_layers.get();
    let (mut path, mut roots) = (Vec::new(), Vec::new());
    if !args.closures.is_empty() {
        let graph = Graph::find(&args.closures, args.store_paths.as_deref(), &store)?;
        let groups = args.groups.iter().map(|group| parse_group(group, &store)).collect::<Result<Vec<_>>>()?;
        let Some(rest) = limit.checked_sub(layers.len() + reserved).filter(|rest| *rest > 0) else {
            bail!("--max-layers {limit}: {} layers are needed beside those of the closure", layers.len() + reserved);
        };
        layers.extend(plan::layers(&graph.references, &groups, rest)?.into_iter().map(LayerSource::StorePaths));
        if args.registration {
            layers.push(registration(&graph, &store)?);
        }
        path = search_path(&graph.roots, &store);
        roots = if graph.is_collected { graph.roots } else { Vec::new() };
    } else if layers.len() + reserved > limit {
        bail!("--max-layers {limit}: {} layers are needed", layers.len() + reserved);
    }
    layers.extend(above);
    let options = Options {
        base,
        entrypoint: args.entrypoint,
        cmd: args.cmd,
        env: args.env,
        path,
        user: args.user,
        workdir: args.workdir,
        stop_signal: args.stop_signal,
        labels: args.label,
        ports: args.port,
        volumes: args.volume,
    };
    let jobs = args.jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let packs_all = args.no_cache || args.closures.is_empty();
    let cache = if packs_all { LayerCache::default() } else { LayerCache::of_user() };
    let platform = args.platform.unwrap_or_else(Platform::of_this_machine);
    let (target, compression) = (args.output, args.compression);
    Ok(Plan { target, layers, store, roots, platform, options, compression, cache, jobs, epoch })
}

/// The layer of `--etc`.
fn read_etc(path: &Path) -> Result<LayerSource> {
    let read = || anyhow::Ok(accounts::parse(&std::fs::read(path)?)?);
    let files = read().with_context(|| format!("--etc {}", path.display()))?;
    Ok(LayerSource::Generated { what: "users, groups and /etc", files })
}

/// The layer of `--registration`: Nix's database, and roots for the store paths that were given, so that
/// garbage collection in the container does not remove them.
fn registration(graph: &Graph, store: &Store) -> Result<LayerSource> {
    let paths: Vec<StorePath> = graph.references.keys().cloned().collect();
    let scratch = Scratch::new()?;
    let database = database::files(store, &paths, scratch.path())?;
    let files = database.map(|(name, bytes)| GeneratedFile::bytes(&format!("nix/var/nix/db/{name}"), bytes, 0o644));
    let link = |(number, root): (usize, &StorePath)| {
        GeneratedFile::link(format!("nix/var/nix/gcroots/image/{number}"), root.to_string())
    };
    let roots = graph.roots.iter().enumerate().map(link);
    let files = generated::complete(files.into_iter().chain(roots).collect());
    Ok(LayerSource::Generated { what: "Nix's database", files })
}

/// The directories of closures that hold programs, for PATH.
fn search_path(roots: &[StorePath], store: &Store) -> Vec<String> {
    let places = roots.iter().flat_map(|root| ["bin", "sw/bin"].map(|inside| (root, inside)));
    // A link below may lead to /nix/store, which is elsewhere on the host: it counts as a directory.
    let is_there = |(root, inside): &(&StorePath, &str)| {
        let path = store.locate(root).join(inside.split('/').next().unwrap_or(inside));
        path.symlink_metadata().is_ok_and(|meta| !meta.is_file())
    };
    places.filter(is_there).map(|(root, inside)| root.join(inside)).collect()
}

fn parse_group(text: &str, store: &Store) -> Result<Vec<StorePath>> {
    let paths = text.split(',').map(|path| store.resolve(path.as_ref()));
    paths.collect::<Result<_, _>>().with_context(|| format!("layer group {text}"))
}

/// https://reproducible-builds.org/specs/source-date-epoch/
fn source_date_epoch() -> Result<Option<i64>> {
    let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty()) else { return Ok(None) };
    let seconds = text.to_str().and_then(|text| text.parse().ok()).filter(|seconds| *seconds >= 0);
    match seconds {
        Some(seconds) => Ok(Some(seconds)),
        None => bail!("SOURCE_DATE_EPOCH is {text:?}: it must be seconds since 1970"),
    }
}

fn parse_compression(text: &str) -> Result<Compression, String> {
    let known = [Compression::Gzip, Compression::Zstd, Compression::None];
    known.into_iter().find(|known| known.name() == text).ok_or_else(|| "give gzip, zstd or none".into())
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("give NAME=VALUE".into()),
    }
}

fn parse_inside(text: &str) -> Result<String, String> {
    if text.starts_with('/') { Ok(text.into()) } else { Err("give an absolute path".into()) }
}

fn parse_signal(text: &str) -> Result<String, String> {
    let word = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-".contains(&byte));
    if word && !text.is_empty() { Ok(text.into()) } else { Err("give a signal's name or number".into()) }
}

fn parse_port(text: &str) -> Result<String, String> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let valid = number.parse::<u16>().is_ok_and(|number| number > 0) && ["tcp", "udp", "sctp"].contains(&protocol);
    if valid { Ok(text.into()) } else { Err("give PORT, PORT/tcp, PORT/udp or PORT/sctp".into()) }
}
