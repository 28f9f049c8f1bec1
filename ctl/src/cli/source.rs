//! Where definitions are: the arguments of every verb that reads some.

use super::places::PlaceArgs;
use crate::definition::nix::{self, Depth};
use crate::definition::source::Source;
use crate::definition::{self, Loaded};
use crate::generation;
use crate::host::{Owner, PROJECT_DIR};
use anyhow::{Context, Result};
use clap::Args;
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Where definitions are.
#[derive(Debug, Args)]
pub struct SourceArgs {
    /// File of definitions (.toml, .json, .nix, or .conf of nixos-containers), a directory with firn.toml or default.nix, or - for
    /// standard input; the firn.toml here or above if not given.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// A Nix expression instead.
    #[arg(long, short = 'E', value_name = "EXPRESSION", conflicts_with = "file")]
    expr: Option<String>,

    /// The attribute of the Nix expression that is the definition, as in `a.b`.
    #[arg(long, short = 'A', value_name = "ATTRIBUTE", help_heading = "Definitions in Nix")]
    attr: Option<String>,

    /// Nix expression of the path of nixpkgs, with which systems are built [default: <nixpkgs>].
    #[arg(long, value_name = "EXPRESSION", help_heading = "Definitions in Nix")]
    nixpkgs_path: Option<String>,

    /// Nix expression of the path of NixOS [default: nixos in nixpkgs].
    #[arg(long, value_name = "EXPRESSION", help_heading = "Definitions in Nix")]
    nixos_path: Option<String>,

    /// Have extra.enableSSH in each container with a system: `cssh` in `firnctl shell` logs in by SSH.
    #[arg(long, help_heading = "Definitions in Nix")]
    ssh: bool,

    /// Pass all that follows to Nix's programs (`--builders`, `--option`, `--show-trace`, …).
    #[arg(long, value_name = "ARGUMENT", num_args = 1.., allow_hyphen_values = true, help_heading = "Definitions in Nix")]
    build_args: Vec<String>,
}

impl SourceArgs {
    /// Reads and checks them, with systems so far.
    pub fn load(&self, depth: Depth, owner: Owner) -> Result<Loaded> {
        definition::load(&self.source(), &self.options(depth), None, owner)
    }

    /// The same for containers that are kept in `places`, where Nix's answers are kept too.
    pub fn load_for(&self, depth: Depth, places: &PlaceArgs) -> Result<Loaded> {
        let kept = places.places()?;
        let options = nix::Options {
            cache: Some(kept.evaluations()),
            ssh_key: Some(kept.ssh_key()),
            state_versions: generation::state_versions(&kept),
            ..self.options(depth)
        };
        let project = places.project()?;
        if let (Some(project), Depth::Built) = (&project, depth) {
            make_state(&project.join(PROJECT_DIR))?;
        }
        definition::load(&self.source(), &options, project.as_deref(), places.owner()?)
    }

    fn source(&self) -> Source {
        Source::of(self.file.as_deref(), self.expr.as_deref())
    }

    fn options(&self, depth: Depth) -> nix::Options {
        nix::Options {
            attribute: self.attr.clone(),
            nixpkgs: self.nixpkgs_path.clone(),
            nixos: self.nixos_path.clone(),
            enables_ssh: self.ssh,
            ssh_key: None,
            state_versions: BTreeMap::new(),
            arguments: self.build_args.clone(),
            depth,
            cache: None,
        }
    }

    /// Whether a file or an expression is given.
    pub fn is_named(&self) -> bool {
        self.file.is_some() || self.expr.is_some()
    }

    /// Names a file.
    pub fn name(&mut self, file: PathBuf) {
        self.file = Some(file);
    }

    /// Whether nothing has to be built: a store path of another build.
    pub fn is_built(&self) -> bool {
        self.file.as_deref().is_some_and(|file| {
            let is_nix = file.extension().is_some_and(|ending| ending == "nix") || file.join("default.nix").exists();
            file.exists() && !is_nix
        })
    }

    /// Takes a `--run COMMAND…` that has come after `--build-args`, which takes all that follows.
    pub fn take_run(&mut self) -> Vec<String> {
        let Some(at) = self.build_args.iter().position(|argument| argument == "--run") else { return Vec::new() };
        self.build_args.split_off(at).split_off(1)
    }
}

/// The containers that a file or directory defines, whose systems are not asked for.
pub fn load_names(path: &Path, places: &PlaceArgs) -> Result<Loaded> {
    let options = nix::Options { cache: Some(places.places()?.evaluations()), ..nix::Options::default() };
    definition::load(&Source::Path(path.to_owned()), &options, places.project()?.as_deref(), places.owner()?)
}

/// Makes the directory of a project's state. It can be listed, and git leaves it out.
fn make_state(directory: &Path) -> Result<()> {
    let ignore = directory.join(".gitignore");
    if ignore.exists() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o755).create(directory);
    made.and_then(|()| std::fs::write(&ignore, "*\n")).with_context(|| format!("write {}", ignore.display()))
}
