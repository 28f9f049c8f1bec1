//! `cargo xtask test`: all tests, on this machine.

use crate::build::{cargo, release, run as call};
use crate::{Result, debian, packages, sizes, vm};
use std::path::Path;

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
    let root = debian::root_with_systemd()?;
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
