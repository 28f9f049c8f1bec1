//! `cargo xtask test`: all tests, on this machine.

use crate::build::{cargo, release, run as call, workspace};
use crate::{Result, packages, sizes};
use std::path::{Path, PathBuf};
use std::process::Command;

pub fn run(quick: bool) -> Result<()> {
    packages::install()?;
    let binaries = release()?;
    if !quick {
        run_checks()?;
    }
    let root = debian_root()?;
    run_tests(&binaries, &root)
}

fn run_checks() -> Result<()> {
    println!("checking form and lints");
    call(cargo().args(["fmt", "--all", "--check"]))?;
    call(cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    sizes::check()
}

fn run_tests(binaries: &Path, root: &Path) -> Result<()> {
    // An ordinary login has no sbin in its path.
    let path = format!("{}:/usr/local/sbin:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut tests = cargo();
    tests.args(["test", "--quiet", "--workspace", "--no-fail-fast"]);
    tests.env("PATH", path).env("FIRN_BIN", binaries).env("FIRN_DEBIAN_ROOT", root);
    // The monitor's tests run any runtime; here it is ours.
    tests.env("FIRN_TEST_RUNTIME", binaries.join("firn"));
    call(&mut tests)
}

/// A Debian root with systemd, made once and kept between runs.
fn debian_root() -> Result<PathBuf> {
    const PACKAGES: &str = "systemd,systemd-sysv,dbus";
    let cache = std::env::var_os("FIRN_CACHE").map_or_else(|| PathBuf::from("/var/cache/firn"), PathBuf::from);
    let root = cache.join("debian-systemd-1");
    if root.join("init").exists() {
        return Ok(root);
    }
    println!("making a Debian root with systemd in {} (a minute, once)", root.display());
    std::fs::create_dir_all(&cache)?;
    let unfinished = cache.join(format!("debian-systemd-1.{}", std::process::id()));
    let mut make = Command::new("mmdebstrap");
    make.args(["--mode=root", "--variant=minbase", "--quiet"]).arg(format!("--include={PACKAGES}"));
    for left_out in ["doc", "man", "locale", "i18n"] {
        make.arg(format!("--dpkgopt=path-exclude=/usr/share/{left_out}/*"));
    }
    make.arg("--customize-hook").arg(workspace().join("xtask/src/debian-root.sh"));
    make.arg(release_name()).arg(&unfinished);
    if let Err(error) = call(&mut make) {
        std::fs::remove_dir_all(&unfinished)?;
        return Err(error);
    }
    std::fs::rename(&unfinished, &root)?;
    Ok(root)
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
