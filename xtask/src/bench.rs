//! `cargo xtask bench`: firn against other runtimes and against the floor. What
//! is measured and how is in bench/src/.

use crate::build::{release, run as call, workspace};
use crate::{Result, cache, debian, packages};
use std::path::PathBuf;
use std::process::Command;

/// Of which the newest peers are.
const SUITE: &str = "forky";
const PEERS: &str = "crun,runc";

/// What is measured, by the first word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measured {
    Runtimes,
    Images,
    Network,
    Monitors,
}

impl Measured {
    fn packages(self) -> &'static [&'static str] {
        match self {
            Measured::Runtimes => &packages::BENCH,
            Measured::Images => &packages::BENCH_IMAGE,
            Measured::Network => &["iproute2", "nftables", "util-linux"],
            Measured::Monitors => &["conmon", "containerd", "util-linux"],
        }
    }

    /// The file beside the programs that gets the samples.
    fn samples(self) -> &'static str {
        match self {
            Measured::Runtimes => "bench.json",
            Measured::Images => "image.json",
            Measured::Network => "network.json",
            Measured::Monitors => "monitors.json",
        }
    }
}

/// `options` are firn-bench's. Without `--quick`, docs/BENCHMARKS.md is written
/// anew.
pub fn run(options: &[&str]) -> Result<()> {
    let measured = match options.first() {
        Some(&"image") => Measured::Images,
        Some(&"network") => Measured::Network,
        Some(&"monitors") => Measured::Monitors,
        _ => Measured::Runtimes,
    };
    packages::install(measured.packages())?;
    let binaries = release()?;
    let mut bench = Command::new(binaries.join("firn-bench"));
    bench.args(options);
    let has = |option| options.contains(&option);
    if !has("--quick") {
        if measured == Measured::Runtimes && !has("--newest") {
            match newest() {
                Ok(root) => drop(bench.arg("--newest").arg(root)),
                Err(error) => println!("without the runtimes of Debian {SUITE}: {error}"),
            }
        }
        if !has("--json") {
            bench.arg("--json").arg(binaries.join(measured.samples()));
        }
        bench.arg("--docs").arg(workspace().join("docs"));
    }
    call(&mut bench)
}

/// A root with the newest peers, made once and kept between runs.
fn newest() -> Result<PathBuf> {
    let recipe = cache::fingerprint(&[SUITE, PEERS, &debian::LEFT_OUT.join(",")]);
    let directory = cache::entry("peers", &recipe, |directory| {
        println!("making a Debian {SUITE} root with {PEERS} (a minute, once)");
        call(&mut debian::make(SUITE, PEERS, &directory.join("root")))
    })?;
    Ok(directory.join("root"))
}
