//! The systems of `nixos-container`: built by Nix into a profile of the container's.

use crate::generation::{Container, remove_tree};
use crate::host::Places;
use anyhow::{Context, Result, bail};
use clap::Args;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Of what a system is built.
#[derive(Debug, Args)]
pub struct SystemArgs {
    /// Path of NixOS instead of <nixpkgs/nixos>.
    #[arg(long, value_name = "PATH")]
    nixos_path: Option<String>,
    /// A system that is built.
    #[arg(long, value_name = "PATH")]
    system_path: Option<PathBuf>,
    /// Options of NixOS.
    #[arg(long, value_name = "TEXT")]
    config: Option<String>,
    /// A file of them.
    #[arg(long, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// A flake, and its attribute of nixosConfigurations: `container` if not given.
    #[arg(long, value_name = "URI[#ATTRIBUTE]")]
    flake: Option<String>,
    #[command(flatten)]
    nix: NixArgs,
}

/// Options of Nix, which are passed on.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of Nix")]
struct NixArgs {
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    #[arg(long, num_args = 2, value_names = ["NAME", "VALUE"])]
    option: Vec<String>,
    #[arg(long)]
    impure: bool,
    #[arg(long, value_name = "INPUT")]
    update_input: Vec<String>,
    #[arg(long, num_args = 2, value_names = ["INPUT", "FLAKE"])]
    override_input: Vec<String>,
    #[arg(long)]
    commit_lock_file: bool,
    #[arg(long)]
    no_registries: bool,
    #[arg(long)]
    no_update_lock_file: bool,
    #[arg(long)]
    no_write_lock_file: bool,
    #[arg(long)]
    no_allow_dirty: bool,
    #[arg(long)]
    recreate_lock_file: bool,
}

impl NixArgs {
    /// Those of any of its programs.
    fn common(&self) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        words.extend(self.log_format.iter().flat_map(|format| ["--log-format".into(), format.clone()]));
        pairs(&mut words, "--option", &self.option);
        words
    }

    /// Those of flakes too.
    fn of_flake(&self) -> Vec<String> {
        let mut words = self.common();
        words.extend(self.update_input.iter().flat_map(|input| ["--update-input".into(), input.clone()]));
        pairs(&mut words, "--override-input", &self.override_input);
        let flags = [
            (self.impure, "--impure"),
            (self.commit_lock_file, "--commit-lock-file"),
            (self.no_registries, "--no-registries"),
            (self.no_update_lock_file, "--no-update-lock-file"),
            (self.no_write_lock_file, "--no-write-lock-file"),
            (self.no_allow_dirty, "--no-allow-dirty"),
            (self.recreate_lock_file, "--recreate-lock-file"),
        ];
        words.extend(flags.into_iter().filter(|(given, _)| *given).map(|(_, flag)| flag.to_owned()));
        words
    }
}

fn pairs(words: &mut Vec<String>, option: &str, values: &[String]) {
    for pair in values.chunks(2) {
        words.push(option.into());
        words.extend(pair.iter().cloned());
    }
}

/// Where the systems of a container are.
#[derive(Debug)]
pub struct Profile {
    directory: PathBuf,
    gcroots: Option<PathBuf>,
}

impl Profile {
    pub fn of(name: &str, places: &Places) -> Self {
        let of_nix = |kind: &str| Path::new("/nix/var/nix").join(kind).join("per-container").join(name);
        match places.are_default() {
            true => Profile { directory: of_nix("profiles"), gcroots: Some(of_nix("gcroots")) },
            false => Profile { directory: places.containers().with_file_name("profiles").join(name), gcroots: None },
        }
    }

    /// The link to the present one.
    pub fn system(&self) -> PathBuf {
        self.directory.join("system")
    }

    pub fn remove(&self) -> Result<()> {
        remove_tree(&self.directory)?;
        self.gcroots.as_deref().map_or(Ok(()), remove_tree)
    }
}

impl SystemArgs {
    /// Errors: two of them are given that exclude each other.
    pub fn check(&self) -> Result<()> {
        if self.config.is_some() && self.config_file.is_some() {
            bail!("--config and --config-file are mutually incompatible. Please define one or the other, but not both");
        }
        if self.flake.is_some() && (self.config.is_some() || self.config_file.is_some()) {
            bail!("--flake and --config or --config-file are mutually incompatible");
        }
        Ok(())
    }

    pub fn flake(&self) -> Option<&str> {
        self.flake.as_deref()
    }

    /// Builds the first system.
    pub fn make(&self, container: &Container, profile: &Profile) -> Result<()> {
        make_directory(&profile.directory)?;
        match (&self.system_path, &self.flake) {
            (Some(path), _) => self.nix_env(profile, |nix| nix.arg("--set").arg(path)),
            (None, Some(flake)) => self.build_flake(flake, profile),
            (None, None) => {
                self.write_config(container)?;
                self.build_config(container, profile)
            }
        }
    }

    /// Builds it anew: of what is given, else of what it was made of.
    pub fn update(&self, container: &Container, profile: &Profile, flake: Option<&str>) -> Result<()> {
        make_directory(&profile.directory)?;
        match (&self.system_path, self.flake.as_deref().or(flake)) {
            (Some(path), _) => self.nix_env(profile, |nix| nix.arg("--set").arg(path)),
            (None, Some(flake)) => self.build_flake(flake, profile),
            (None, None) => {
                if self.config.is_some() || self.config_file.is_some() {
                    self.write_config(container)?;
                }
                self.build_config(container, profile)
            }
        }
    }

    fn write_config(&self, container: &Container) -> Result<()> {
        let more = match (&self.config, &self.config_file) {
            (Some(text), _) => text.clone(),
            (None, Some(file)) => {
                let file = std::fs::canonicalize(file).with_context(|| file.display().to_string())?;
                format!("imports = [ {} ];", file.display())
            }
            (None, None) => String::new(),
        };
        let text = format!(
            "{{ config, lib, pkgs, ... }}:\n\n{{\n  boot.isContainer = true;\n  \
             networking.hostName = lib.mkDefault \"{}\";\n  networking.useDHCP = false;\n  {more}\n}}\n",
            container.name
        );
        let file = config_file(container);
        let what = || format!("write {}", file.display());
        let root = container.state_dir().join("root");
        DirBuilder::new().recursive(true).mode(0o700).create(&root).with_context(what)?;
        std::fs::create_dir_all(root.join("etc/nixos")).with_context(what)?;
        std::fs::write(&file, text).with_context(what)
    }

    fn build_config(&self, container: &Container, profile: &Profile) -> Result<()> {
        let nixos = self.nixos_path.as_deref().unwrap_or("<nixpkgs/nixos>");
        let config = format!("nixos-config={}", config_file(container).display());
        self.nix_env(profile, |nix| nix.args(["-I", &config, "-f", nixos, "--set", "-A", "system"]))
    }

    fn nix_env(&self, profile: &Profile, what: impl FnOnce(&mut Command) -> &mut Command) -> Result<()> {
        let mut nix = Command::new("nix-env");
        nix.arg("-p").arg(profile.system()).args(self.nix.common());
        called(what(&mut nix))
    }

    fn build_flake(&self, flake: &str, profile: &Profile) -> Result<()> {
        let (uri, attribute) = flake.split_once('#').unwrap_or((flake, "container"));
        let mut nix = Command::new("nix");
        nix.args(["--extra-experimental-features", "nix-command flakes", "build", "--profile"]).arg(profile.system());
        nix.args(self.nix.of_flake());
        called(nix.arg(format!("{uri}#nixosConfigurations.\"{attribute}\".config.system.build.toplevel")))
    }
}

fn config_file(container: &Container) -> PathBuf {
    container.state_dir().join("root/etc/nixos/configuration.nix")
}

fn make_directory(directory: &Path) -> Result<()> {
    let what = || format!("create directory {}", directory.display());
    DirBuilder::new().recursive(true).mode(0o755).create(directory).with_context(what)
}

/// With its messages on our stderr.
fn called(nix: &mut Command) -> Result<()> {
    let name = nix.get_program().to_string_lossy().into_owned();
    let status = nix.stdin(Stdio::null()).stdout(Stdio::null()).status().with_context(|| format!("run {name}"))?;
    match status.success() {
        true => Ok(()),
        false => bail!("{name} has failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Given {
        #[command(flatten)]
        system: SystemArgs,
    }

    #[test]
    fn options_of_nix_are_passed_on() {
        let words = "x --log-format raw --option a b --option c d --impure --update-input i --override-input n f --commit-lock-file \
             --no-registries --no-update-lock-file --no-write-lock-file --no-allow-dirty --recreate-lock-file";
        let nix = Given::parse_from(words.split_whitespace()).system.nix;
        assert_eq!(nix.common().join(" "), "--log-format raw --option a b --option c d");
        assert_eq!(
            nix.of_flake().join(" "),
            "--log-format raw --option a b --option c d --update-input i --override-input n f --impure --commit-lock-file \
             --no-registries --no-update-lock-file --no-write-lock-file --no-allow-dirty --recreate-lock-file"
        );
    }
}
