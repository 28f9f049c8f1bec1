//! Debian roots, by mmdebstrap.

use crate::build::run;
use crate::{Result, cache};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders of /usr/share that nothing reads in these roots.
pub const LEFT_OUT: [&str; 5] = ["doc", "man", "locale", "i18n", "info"];

/// mmdebstrap, up to what is particular.
pub fn make(suite: &str, packages: &str, root: &Path) -> Command {
    let mut make = Command::new("mmdebstrap");
    make.args(["--mode=root", "--variant=minbase", "--quiet"]).arg(format!("--include={packages}"));
    for left_out in LEFT_OUT {
        make.arg(format!("--dpkgopt=path-exclude=/usr/share/{left_out}/*"));
    }
    // A hook may have put a package's setting there before the package comes.
    make.arg("--dpkgopt=force-confold");
    // A testing release's index may be past its date; its signature still counts.
    make.arg("--aptopt=Acquire::Check-Valid-Until \"false\"").arg(suite).arg(root);
    make
}

/// The option that runs the script on the root when the packages are in it.
pub fn hook(directory: &Path, script: &str) -> Result<String> {
    let file = directory.join("hook.sh");
    std::fs::write(&file, script)?;
    Ok(format!("--customize-hook=sh {} \"$1\"", file.display()))
}

/// A Debian root with systemd, made once and kept between runs.
pub fn root_with_systemd() -> Result<PathBuf> {
    const PACKAGES: &str = "systemd,systemd-sysv,dbus";
    const HOOK: &str = include_str!("debian-root.sh");
    let suite = release_name();
    let recipe = cache::fingerprint(&[HOOK, PACKAGES, &suite, &LEFT_OUT.join(",")]);
    let directory = cache::entry("debian-systemd", &recipe, |directory| {
        println!("making a Debian root with systemd (a minute, once)");
        run(make(&suite, PACKAGES, &directory.join("root")).arg(hook(directory, HOOK)?))
    })?;
    Ok(directory.join("root"))
}

/// The Debian that this machine is, or the newest stable one elsewhere.
fn release_name() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    match (field("ID="), field("VERSION_CODENAME=")) {
        (Some(id), Some(name)) if id == "debian" => name,
        _ => "stable".into(),
    }
}
