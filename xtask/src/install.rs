//! `cargo xtask install`.

use crate::Result;
use crate::build::{self, BINARIES, release, workspace};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where each kind of file goes below the prefix.
const PLACES: [(&str, &str); 4] = [
    ("man", "share/man/man1"),
    ("bash", "share/bash-completion/completions"),
    ("zsh", "share/zsh/site-functions"),
    ("fish", "share/fish/vendor_completions.d"),
];

const UNITS: [&str; 3] = ["firn@.service", "firn-network.socket", "firn-network.service"];

/// Programs that firnctl is called as.
const LINKS: [&str; 2] = ["nixos-container", "extra-container"];

/// What is installed where.
pub struct Options {
    prefix: PathBuf,
    links: bool,
    /// What the host's network managers are told, too.
    system: bool,
    /// Where the programs are already, as packagers have built them.
    built: Option<PathBuf>,
}

impl Options {
    /// `None`: a word that is none of them.
    pub fn parse(words: &[&str]) -> Option<Self> {
        let mut options = Options { prefix: "/usr/local".into(), links: false, system: false, built: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--prefix" => options.prefix = PathBuf::from(words.next()?),
                "--built" => options.built = Some(PathBuf::from(words.next()?)),
                "--links" => options.links = true,
                "--system" => options.system = true,
                _ => return None,
            }
        }
        Some(options)
    }
}

pub fn run(Options { prefix, links, system, built }: &Options) -> Result<()> {
    let binaries = built.clone().map_or_else(release, Ok)?;
    let manuals = workspace().join("target/manuals");
    write_manuals(&manuals)?;
    for name in BINARIES {
        put(&binaries.join(name), &prefix.join("bin").join(name), "755")?;
    }
    for (from, to) in PLACES {
        for entry in std::fs::read_dir(manuals.join(from))? {
            let entry = entry?;
            put(&entry.path(), &prefix.join(to).join(entry.file_name()), "644")?;
        }
    }
    for unit in UNITS {
        put_unit(unit, prefix)?;
    }
    for link in LINKS.iter().filter(|_| *links) {
        make_link(&prefix.join("bin").join(link))?;
    }
    if *system {
        crate::system::write(Path::new("/"))?;
    }
    println!("installed {} below {}", BINARIES.join(", "), prefix.display());
    Ok(())
}

#[cfg(feature = "manuals")]
fn write_manuals(directory: &Path) -> Result<()> {
    crate::manuals::write(directory)
}

/// By another one of ourselves, which has them.
#[cfg(not(feature = "manuals"))]
fn write_manuals(directory: &Path) -> Result<()> {
    let made = ["run", "--quiet", "--package", "xtask", "--features", "manuals", "--", "manuals"];
    build::run(build::cargo().args(made).arg(directory))
}

/// A unit, or the template of containers' units, which systemd finds there below /usr and /usr/local.
fn put_unit(unit: &str, prefix: &Path) -> Result<()> {
    let text = std::fs::read_to_string(workspace().join("ctl").join(unit))?;
    let bin = std::path::absolute(prefix.join("bin"))?;
    let made = workspace().join("target").join(unit);
    std::fs::write(&made, text.replace("@bindir@", &bin.to_string_lossy()))?;
    put(&made, &prefix.join("lib/systemd/system").join(unit), "644")
}

/// A link to firnctl, beside it; none in the place of a program.
fn make_link(path: &Path) -> Result<()> {
    match std::fs::read_link(path) {
        Ok(target) if target == Path::new("firnctl") => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(std::os::unix::fs::symlink("firnctl", path)?),
        _ => Err(format!("{} is there already, and no link to firnctl", path.display()).into()),
    }
}

fn put(from: &Path, to: &Path, mode: &str) -> Result<()> {
    build::run(Command::new("install").args(["-D", "-m", mode]).arg(from).arg(to))
}
