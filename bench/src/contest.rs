//! Subjects in turns, and what they stand on.

use crate::Result;
use crate::options::Options;
use crate::place::{Place, Sample};
use crate::subject::Subject;
use firn_bench::engine::Stand;
use firn_bench::view::View;
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub struct Bench {
    pub stand: Stand,
    pub subjects: Vec<Subject>,
    pub scratch: Scratch,
    pub rounds: usize,
    pub quick: bool,
    /// Who has failed in a view takes no more part there.
    pub failed: Vec<(View, String)>,
    places: Vec<(View, Option<PathBuf>, Place)>,
}

/// A directory that goes with the bench.
#[derive(Debug)]
pub struct Scratch(pub PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
        // A runtime that fails may leave its cgroup; one that is in use stays.
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        for hierarchy in hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]) {
            for entry in std::fs::read_dir(hierarchy).into_iter().flatten().flatten() {
                if entry.file_name().as_encoded_bytes().starts_with(b"bench-") {
                    let _ = std::fs::remove_dir(entry.path());
                }
            }
        }
    }
}

impl Bench {
    pub fn new(options: &Options) -> Result<Self> {
        let scratch = Scratch(std::env::temp_dir().join(format!("firn-bench-{}", std::process::id())));
        std::fs::create_dir(&scratch.0)?;
        let here = std::env::current_exe()?;
        let built = here.parent().unwrap_or(Path::new("/"));
        // Copies: what runs in another root must be found there too.
        for name in ["firn", "firn-floor"] {
            std::fs::copy(built.join(name), scratch.0.join(name)).map_err(|e| format!("copy {name}: {e}"))?;
        }
        let stand = Stand::make(&scratch.0, &scratch.0.join("firn"), &scratch.0.join("firn-floor"))?;
        let subjects = subjects(options, &scratch.0)?;
        Ok(Bench {
            stand,
            subjects,
            scratch,
            rounds: options.rounds,
            quick: options.quick,
            failed: Vec::new(),
            places: Vec::new(),
        })
    }

    /// The config of that name.
    pub fn config(&self, name: &str) -> &Value {
        if name == "podman" { &self.stand.podman } else { &self.stand.spec }
    }

    /// A subject's part in a contest.
    pub fn lane(&self, subject: &Subject, view: View) -> Lane {
        let out = self.failed.contains(&(view, subject.name.clone()));
        Lane { subject: subject.name.clone(), root: subject.newest.clone(), out }
    }

    pub fn floor(&self, sheet: &Path) -> Vec<OsString> {
        vec![self.scratch.0.join("firn-floor").into(), "play".into(), sheet.into()]
    }

    /// Where commands of a root run in a view, opened when first needed.
    pub fn place(&mut self, view: View, root: Option<&Path>) -> Result<&mut Place> {
        let known = self.places.iter().position(|(v, r, _)| *v == view && r.as_deref() == root);
        let at = match known {
            Some(at) => at,
            None => {
                let place = Place::open(view, root, &self.scratch.0)?;
                self.places.push((view, root.map(Path::to_owned), place));
                self.places.len() - 1
            }
        };
        Ok(&mut self.places[at].2)
    }
}

fn subjects(options: &Options, scratch: &Path) -> Result<Vec<Subject>> {
    let mut subjects = vec![Subject::find("firn", &scratch.join("firn"), None).ok_or("firn doesn't run")?];
    let newest = options.newest.as_deref();
    for name in ["crun", "runc"] {
        match newest.and_then(|root| find_in(root, name)) {
            Some(subject) => subjects.push(subject),
            None if newest.is_some() => println!("no {name} in the root of the newest: left out"),
            None => {}
        }
        match Subject::installed(name) {
            Some(subject) => subjects.push(subject),
            None => println!("no {name} is installed: left out"),
        }
    }
    for (name, path) in &options.runtimes {
        let subject = Subject::find(name, path, None);
        subjects.push(subject.ok_or_else(|| format!("{name}: {} --version fails", path.display()))?);
    }
    Ok(subjects)
}

fn find_in(root: &Path, name: &str) -> Option<Subject> {
    let dirs = ["/usr/bin", "/usr/sbin"];
    dirs.iter().find_map(|dir| Subject::find(name, &Path::new(dir).join(name), Some(root)))
}

/// One who takes part, with all that it did. One that fails is out.
#[derive(Debug)]
pub struct Lane {
    pub subject: String,
    pub root: Option<PathBuf>,
    pub out: bool,
}

impl Lane {
    /// A command's sample; where it fails the lane is out, and says so.
    pub fn run(&mut self, bench: &mut Bench, view: View, words: &[OsString]) -> Result<Option<Sample>> {
        let sample = bench.place(view, self.root.as_deref())?.run(words)?;
        if sample.status != 0 {
            self.out = true;
            bench.failed.push((view, self.subject.clone()));
            let line: Vec<_> = words.iter().skip(1).map(|word| word.to_string_lossy()).collect();
            let line = line.join(" ").replace(&*bench.scratch.0.to_string_lossy(), "SCRATCH");
            println!("{} is out (cgroup {}): status {} of {line}", self.subject, view.name(), sample.status);
            return Ok(None);
        }
        Ok(Some(sample))
    }
}

/// Who begins changes from round to round.
pub fn order(round: usize, lanes: usize) -> impl Iterator<Item = usize> {
    (0..lanes).map(move |turn| (round + turn) % lanes)
}

/// Rounds before those that count.
pub const WARM_UP: usize = 3;
