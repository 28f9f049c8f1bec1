//! `cargo xtask test`: all tests, on this machine.

use crate::build::{cargo, release, run as call};
use crate::{Result, cache, debian, packages, sizes, vm};
use std::path::{Path, PathBuf};

/// What `cargo xtask test` leaves out.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Formatting and lints.
    pub checks: bool,
    /// The guests.
    pub guests: bool,
}

pub fn run(extent: Extent) -> Result<()> {
    packages::install(&packages::TESTS)?;
    let binaries = release()?;
    if extent.checks {
        run_checks()?;
    }
    let root = debian_root()?;
    run_tests(&binaries, &root)?;
    if extent.guests { vm::test_all() } else { Ok(()) }
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
pub fn debian_root() -> Result<PathBuf> {
    const PACKAGES: &str = "systemd,systemd-sysv,dbus";
    const HOOK: &str = include_str!("debian-root.sh");
    let suite = release_name();
    let recipe = cache::fingerprint(&[HOOK, PACKAGES, &suite, &debian::LEFT_OUT.join(",")]);
    let folder = cache::entry("debian-systemd", &recipe, |folder| {
        println!("making a Debian root with systemd (a minute, once)");
        call(debian::make(&suite, PACKAGES, &folder.join("root")).arg(debian::hook(folder, HOOK)?))
    })?;
    Ok(folder.join("root"))
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
