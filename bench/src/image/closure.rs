//! What mounting a closure costs: firn runs a program that ends at once, in roots that see ever more
//! store paths.

use crate::Result;
use crate::contest::order;
use crate::place::{Place, Sample};
use crate::row::Row;
use crate::statistics::Summary;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names, and store paths of each; the first one has none.
const SUBJECTS: [(&str, usize); 4] = [("no closure", 0), ("10 paths", 10), ("100 paths", 100), ("2,000 paths", 2000)];
/// Files of a store path.
const FILES: usize = 5;
const ROUNDS: usize = 100;
const WARM_UP: usize = 3;

pub const COMMAND: &str = "closure";

/// All subjects in turns, each of which takes milliseconds. firn, firn-image and firn-init are in `scratch`.
pub fn measure(place: &mut Place, scratch: &Path) -> Result<Vec<Row>> {
    println!("closures");
    let bundles = make(scratch)?;
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); bundles.len()];
    for round in 0..ROUNDS + WARM_UP {
        for at in order(round, bundles.len()) {
            let firn = [scratch.join("firn"), "--root".into(), scratch.join("state"), "run".into(), "--bundle".into()];
            let words = [&firn[..], &[bundles[at].clone(), format!("bench-closure-{}", std::process::id()).into()]];
            let sample = place.run(&words.concat())?;
            if sample.status != 0 {
                return Err(format!("firn, {}: status {}", SUBJECTS[at].0, sample.status).into());
            }
            if round >= WARM_UP {
                samples[at].push(sample);
            }
        }
    }
    Ok(crate::row::beside_first(
        COMMAND,
        ("a closure", "mounted by firn"),
        SUBJECTS.iter().map(|(subject, _)| *subject).zip(samples),
    ))
}

/// What a closure adds to the time of a round, and to the processor's, by the number of its paths.
pub fn sentence(rows: &[Row]) -> Option<String> {
    let mut rows = rows.iter().filter(|row| row.command == COMMAND);
    let first = rows.next()?;
    let base = first.milliseconds();
    let differences = rows.map(|row| {
        let added: Vec<f64> = row.milliseconds().iter().zip(&base).map(|(time, base)| time - base).collect();
        let added = Summary::of(&added);
        let cpu = row.cpu() - first.cpu();
        format!("{}: {:.2} ms ({:.2}–{:.2}), of CPU {cpu:.2} ms", row.subject, added.median, added.lower, added.upper)
    });
    let differences: Vec<_> = differences.collect();
    Some(format!("Added to the time of the same round without a closure (quartiles): {}.\n", differences.join("; ")))
}

/// A store, and a bundle for each subject.
fn make(scratch: &Path) -> Result<Vec<PathBuf>> {
    let (store, root) = (scratch.join("store/nix/store"), scratch.join("closure-root"));
    let floor = scratch.join("firn-floor");
    for number in 0..SUBJECTS.iter().map(|(_, paths)| *paths).max().unwrap_or(0) {
        let path = scratch.join("store").join(store_path(number).trim_start_matches('/'));
        std::fs::create_dir_all(path.join("bin"))?;
        for file in 0..FILES {
            std::fs::write(path.join(format!("file-{file}")), store_path(number))?;
        }
    }
    for directory in [root.join("bin"), store.join(store_path(0).trim_start_matches("/nix/store/")).join("bin")] {
        std::fs::create_dir_all(&directory)?;
        std::fs::copy(&floor, directory.join("true"))?;
        std::fs::set_permissions(directory.join("true"), PermissionsExt::from_mode(0o755))?;
    }
    SUBJECTS.into_iter().map(|(_, paths)| bundle(scratch, &store, &root, paths)).collect()
}

fn bundle(scratch: &Path, store: &Path, root: &Path, paths: usize) -> Result<PathBuf> {
    let bundle = scratch.join(format!("closure-{paths}"));
    let mut command = Command::new(scratch.join("firn-image"));
    command.args(["bundle", "--output"]).arg(&bundle).arg("--layer").arg(root);
    // The cache of closures' images is the bench's own.
    command.env("XDG_CACHE_HOME", scratch.join("cache"));
    if paths > 0 {
        let list: String = (0..paths).map(|number| store_path(number) + "\n").collect();
        let file = scratch.join(format!("closure-{paths}.list"));
        std::fs::write(&file, list)?;
        command.arg("--store").arg(store).arg("--closure").arg(store_path(0)).arg("--store-paths").arg(file);
    }
    let made = command.args(["--", "/bin/true"]).status()?;
    if made.success() { Ok(bundle) } else { Err(format!("firn-image bundle of {paths} paths: {made}").into()) }
}

fn store_path(number: usize) -> String {
    format!("/nix/store/{number:032}-package-{number}")
}
