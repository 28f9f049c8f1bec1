//! `cargo xtask bench`: firn against other runtimes and against the floor. What
//! is measured and how is in bench/src/.

use crate::build::{release, run as call, workspace};
use crate::{Result, cache, debian, packages};
use std::path::PathBuf;
use std::process::Command;

/// Of which the newest peers are.
const SUITE: &str = "forky";
const PEERS: &str = "crun,runc";

/// `options` are firn-bench's. Without `--quick`, docs/BENCHMARKS.md is written
/// anew.
pub fn run(options: &[&str]) -> Result<()> {
    let images = options.first() == Some(&"image");
    if options.first() == Some(&"network") {
        packages::install(&["iproute2", "nftables", "util-linux"])?;
        return call(Command::new(release()?.join("firn-bench")).args(options));
    }
    packages::install(if images { &packages::BENCH_IMAGE } else { &packages::BENCH })?;
    let binaries = release()?;
    let mut bench = Command::new(binaries.join("firn-bench"));
    bench.args(options);
    let has = |option| options.contains(&option);
    if !has("--quick") {
        let newest = if images { Err("images need none".into()) } else { newest() };
        match newest {
            Ok(root) if !has("--newest") => drop(bench.arg("--newest").arg(root)),
            Ok(_) => {}
            Err(_) if images => {}
            Err(error) => println!("without the runtimes of Debian {SUITE}: {error}"),
        }
        if !has("--json") {
            bench.arg("--json").arg(binaries.join(if images { "image.json" } else { "bench.json" }));
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
