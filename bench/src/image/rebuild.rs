//! What it takes to build an image of a closure and to push it to the registry: for the first time,
//! again, and after one path has changed.

use super::stage::Stage;
use crate::Result;
use crate::place::Sample;
use crate::row::Row;
use std::fs;
use std::path::{Path, PathBuf};

/// Store paths, and bytes of the one file of each.
const PATHS: usize = 90;
const SIZE: usize = 400_000;

pub const COMMAND: &str = "rebuild";
const SUBJECTS: [&str; 3] = ["everything is new", "nothing has changed", "one path has changed"];

/// The three in turn, as each needs the one before; with a registry.
pub fn measure(stage: &mut Stage, rounds: usize) -> Result<Vec<Row>> {
    println!("an image of a closure, built and pushed");
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); SUBJECTS.len()];
    for round in 0..rounds {
        // Neither the user's caches nor the repository know anything.
        let directory = stage.scratch.join(format!("rebuild-{round}"));
        let store = directory.join("nix/store");
        for number in 0..PATHS {
            add(&store, &name(round, number), number)?;
        }
        for (at, samples) in samples.iter_mut().enumerate() {
            if at == 2 {
                fs::remove_dir_all(store.join(name(round, 1)))?;
                add(&store, &name(round, PATHS), PATHS)?;
            }
            let words = words(stage, &directory, round)?;
            let sample = stage.place.run(&words)?;
            if sample.status != 0 {
                return Err(format!("firn-image build, {}: status {}", SUBJECTS[at], sample.status).into());
            }
            samples.push(sample);
        }
    }
    Ok(crate::row::beside_first(
        COMMAND,
        ("an image of a closure", "built and pushed"),
        SUBJECTS.iter().copied().zip(samples),
    ))
}

/// The command, with a list of the paths that are in the store.
fn words(stage: &Stage, directory: &Path, round: usize) -> Result<Vec<String>> {
    let list = directory.join("list");
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory.join("nix/store"))? {
        paths.push(PathBuf::from("/nix/store").join(entry?.file_name()).display().to_string());
    }
    paths.sort();
    fs::write(&list, paths.join("\n") + "\n")?;
    let registry = stage.registry.as_ref().ok_or("no registry")?;
    let target = format!("docker://{}/rebuilt-{}-{round}:v", registry.address, std::process::id());
    let cache = format!("XDG_CACHE_HOME={}", directory.join("cache").display());
    let path = |path: PathBuf| path.display().to_string();
    let closure = format!("/nix/store/{}", name(round, 0));
    let program = path(stage.firn_image.clone());
    let (store, list) = (path(directory.join("nix/store")), path(list));
    let words = [
        "/usr/bin/env",
        &cache,
        &program,
        "build",
        "--store",
        &store,
        "--store-paths",
        &list,
        "--closure",
        &closure,
        "--output",
        &target,
    ];
    Ok(words.map(str::to_owned).into())
}

fn add(store: &Path, name: &str, number: usize) -> Result<()> {
    let directory = store.join(name);
    fs::create_dir_all(&directory)?;
    // Text that gzip makes smaller, another one in each path.
    let line = |at: usize| format!("{name} {}\n", (at * (number + 7)) % 10_007);
    let text: String = (0..SIZE / 50).map(line).collect();
    Ok(fs::write(directory.join("file"), text)?)
}

/// Of a store path.
fn name(round: usize, number: usize) -> String {
    format!("{:032}-package-{number}", round * 1000 + number)
}
