//! `cargo xtask test`: all tests, on this machine.

use crate::build::{cargo, release, run as call, test_programs};
use crate::{Result, debian, packages, structure, vm};
use std::path::Path;
use std::process::Command;

/// What `cargo xtask test` leaves out.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Formatting and lints.
    pub checks: bool,
    /// The guests.
    pub guests: bool,
}

pub fn run(extent: Extent) -> Result<()> {
    packages::install(packages::TESTS)?;
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
    structure::check()
}

/// By firn-suite, as in the guests: `cargo test` says of a skipped test that it passed.
fn run_tests(binaries: &Path, root: &Path) -> Result<()> {
    /// The longest takes two minutes on an idle machine.
    const LIMIT: &str = "900";
    // An ordinary login has no sbin in its path.
    let path = format!("{}:/usr/local/sbin:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let jobs = std::thread::available_parallelism()?.to_string();
    let mut tests = Command::new(binaries.join("firn-suite"));
    tests
        // It counts by single steps on every processor: the processes of another test wait for
        // a minute in vain.
        .args(["--jobs", &jobs, "--limit", LIMIT, "--alone", "budget::"])
        .args(test_programs(&["--workspace"])?.into_iter().map(|(_, file)| file));
    tests.env("PATH", path).env("FIRN_BIN", binaries).env("FIRN_DEBIAN_ROOT", root);
    // The monitor's tests run any runtime; here it is ours.
    tests.env("FIRN_TEST_RUNTIME", binaries.join("firn"));
    call(&mut tests)
}

/// More of the damaged inputs of which the tests read some thousands.
pub fn fuzz(number: &str) -> Result<()> {
    let words = ["test", "--release", "--package", "firn-image", "--lib", "mutations"];
    call(cargo().args(words).env("FIRN_MUTATIONS", number))
}
