//! `firn-image inspect`: what a bundle is made of, and whether it is still there.

use super::inspect_image;
use super::store::TRANSPORTS;
use crate::bundle::{init, plan::names};
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::source::nix::store_path::{LOGICAL_STORE, Store, StorePath};
use crate::store::gcroots;
use anyhow::{Context, Result, bail};
use clap::Args;
use firn::spec::firn_config::{self, FirnConfig};
use oci_spec::runtime::Spec;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Show what a bundle is made of, and whether it is all still there; or the layers of an image.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// The bundle, or an image: docker://NAME[:TAG|@DIGEST], of which no layer is fetched, oci:DIR[:TAG],
    /// oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME].
    #[arg(value_name = "BUNDLE|REFERENCE")]
    what: PathBuf,

    /// Of an index, the image for this platform instead of this machine's: [linux/]ARCHITECTURE[/VARIANT].
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,

    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Prints the description. Errors: a layer or store path is missing.
pub(super) fn run(args: &InspectArgs) -> Result<()> {
    if let Some((text, reference)) = parse_reference(&args.what)? {
        let text = inspect_image::describe(text, &reference, args.platform.as_ref(), args.json)?;
        let text = if args.json { firn::log::printable(&text).into_owned() } else { text };
        return std::io::stdout().write_all(text.as_bytes()).context("print");
    }
    if let Some(platform) = &args.platform {
        bail!("--platform {platform}: {} is a bundle, which has one", args.what.display());
    }
    let facts = Facts::read(&args.what)?;
    let text = if args.json {
        let text = serde_json::to_string_pretty(&facts.json()).context("make JSON")? + "\n";
        // JSON leaves DEL and the C1 control characters as they are; escaped, its value is the same.
        firn::log::printable(&text).into_owned()
    } else {
        facts.table()
    };
    std::io::stdout().write_all(text.as_bytes()).context("print")?;
    match &facts.missing[..] {
        [] => Ok(()),
        [path] => bail!("{} is missing: make the bundle anew", path.display()),
        [path, more @ ..] => {
            bail!("{} and {} more are missing: make the bundle anew", path.display(), more.len())
        }
    }
}

/// A reference, if this is one: a bundle whose name looks like one is given as ./NAME.
pub(super) fn parse_reference(given: &Path) -> Result<Option<(&str, Reference)>> {
    let Some(text) = given.to_str() else { return Ok(None) };
    match text.split_once(':') {
        Some((transport, _)) if TRANSPORTS.contains(&transport) => match text.parse() {
            Ok(reference) => Ok(Some((text, reference))),
            Err(message) => bail!("{message}"),
        },
        _ => Ok(None),
    }
}

/// What a bundle is made of.
struct Facts {
    bundle: PathBuf,
    hostname: Option<String>,
    args: Vec<String>,
    firn_init: bool,
    firn_config: FirnConfig,
    /// The store path of its closure, where it has a root, and the number of store paths.
    closure: Option<(Option<PathBuf>, usize)>,
    missing: Vec<PathBuf>,
}

impl Facts {
    fn read(bundle: &Path) -> Result<Self> {
        let what = || format!("bundle {}", bundle.display());
        let bundle = std::fs::canonicalize(bundle).with_context(what)?;
        let spec = Spec::load(bundle.join(names::CONFIG))
            .with_context(|| format!("read {}", names::CONFIG))
            .with_context(what)?;
        let text = std::fs::read(bundle.join(firn_config::FILE))
            .with_context(|| format!("read {}", firn_config::FILE))
            .with_context(what)?;
        let firn_config =
            firn_config::parse(&text).with_context(|| format!("parse {}", firn_config::FILE)).with_context(what)?;
        let root = firn_config.root.clone().unwrap_or_default();
        let mut missing: Vec<_> = root.layers.into_iter().filter(|dir| !dir.is_dir()).collect();
        let closure = match &root.closure {
            Some(list) => {
                let store = root.store.as_deref().unwrap_or(Path::new(LOGICAL_STORE));
                let paths = read_closure(list)?;
                let store = Store::at(store)?;
                let places = paths.iter().map(|path| store.locate(path));
                missing.extend(places.filter(|place| place.symlink_metadata().is_err()));
                let path = std::fs::read_link(bundle.join(gcroots::NAME)).ok();
                Some((path, paths.len()))
            }
            None => None,
        };
        let process = spec.process().as_ref();
        let args = process.and_then(|process| process.args().clone()).unwrap_or_default();
        Ok(Self {
            firn_init: args.first().is_some_and(|arg| arg == init::FIRN_INIT_PATH),
            hostname: spec.hostname().clone(),
            bundle,
            args,
            firn_config,
            closure,
            missing,
        })
    }

    /// The command, without firn-init and its options.
    fn command(&self) -> &[String] {
        match self.args.iter().position(|arg| arg == "--") {
            Some(at) if self.firn_init => &self.args[at + 1..],
            _ => &self.args,
        }
    }

    fn init(&self) -> &'static str {
        if self.firn_init { "firn-init" } else { "own" }
    }

    fn notifies(&self) -> bool {
        self.firn_config.init.as_ref().and_then(|init| init.notify).unwrap_or(false)
    }

    fn json(&self) -> Value {
        let root = self.firn_config.root.clone().unwrap_or_default();
        json!({
            "bundle": self.bundle,
            "hostname": self.hostname,
            "init": self.init(),
            "command": self.command(),
            "notify": self.notifies(),
            "layers": root.layers,
            "upper": root.upper,
            "closure": self.closure.as_ref().map(|(path, count)| json!({
                "path": path,
                "paths": count,
            })),
            "missing": self.missing,
        })
    }

    fn table(&self) -> String {
        let mut rows = vec![("bundle", self.bundle.display().to_string())];
        rows.extend(self.hostname.iter().map(|name| ("hostname", name.clone())));
        rows.push(("init", self.init().into()));
        rows.push(("command", self.command().join(" ")));
        let ready = if self.notifies() { "when process 1 says so" } else { "when process 1 runs" };
        rows.push(("ready", ready.into()));
        match &self.firn_config.root {
            Some(root) => {
                for (number, layer) in root.layers.iter().enumerate() {
                    let title = if number == 0 { "layers" } else { "" };
                    rows.push((title, layer.display().to_string()));
                }
                rows.extend(root.upper.iter().map(|upper| ("upper", upper.clone())));
            }
            None => rows.push(("root", "copied into the bundle".into())),
        }
        if let Some((path, count)) = &self.closure {
            let path = path.as_ref().map_or(String::new(), |path| format!("{}, ", path.display()));
            rows.push(("closure", format!("{path}{count} store paths")));
        }
        rows.extend(self.missing.iter().map(|path| ("missing", path.display().to_string())));
        let row = |(title, value): &(&str, String)| {
            let value = value.replace('\n', "\\u000a");
            format!("{title:<9} {}\n", firn::log::printable(&value))
        };
        rows.iter().map(row).collect()
    }
}

fn read_closure(list: &Path) -> Result<Vec<StorePath>> {
    let what = || format!("read closure {}", list.display());
    let text = std::fs::read_to_string(list).with_context(what)?;
    text.lines().map(StorePath::parse).collect::<Result<_, _>>().with_context(what)
}
