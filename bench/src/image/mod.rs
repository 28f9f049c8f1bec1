//! `firn-bench image`: an image from a layout or a registry, unpacked, beside what other programs
//! take for it, and beside the floors.
//!
//! | module | what it holds |
//! |---|---|
//! | `input` | the images |
//! | `stage` | what is needed to run a command |
//! | `registry` | docker-registry on loopback |
//! | `subject` | who unpacks them, by which command |
//! | `closure` | what mounting a closure costs |
//! | `rebuild` | what building and pushing costs when one path has changed |
//! | `floor` | the decoder alone, and a writer of files alone |
//! | `report` | the part of docs/BENCHMARKS.md |

mod closure;
mod floor;
mod input;
mod rebuild;
mod registry;
mod report;
mod stage;
mod subject;

use crate::Result;
use crate::contest::{Scratch, order};
use crate::machine::Machine;
use crate::options::Options;
use crate::place::{Place, Sample};
use crate::row::Row;
use crate::statistics::Summary;
use input::Input;
use registry::Registry;
use stage::Stage;
use std::path::Path;
use subject::{SUBJECTS, Source, Subject};

pub use floor::run as run_floor;

/// Rounds before those that count, of which a single one has none.
const WARM_UP: usize = 1;

pub fn bench(options: &Options) -> Result<()> {
    let scratch = Scratch(std::env::temp_dir().join(format!("firn-bench-image-{}", std::process::id())));
    std::fs::create_dir(&scratch.0)?;
    let here = std::env::current_exe()?;
    let built = here.parent().unwrap_or(Path::new("/"));
    for name in ["firn", "firn-floor", "firn-image", "firn-init"] {
        std::fs::copy(built.join(name), scratch.0.join(name)).map_err(|e| format!("copy {name}: {e}"))?;
    }
    let inputs = Input::all(&scratch.0)?;
    let registry = Registry::start(&scratch.0, &inputs)?;
    let place = Place::plain(&scratch.0)?;
    let (firn_image, target) = (scratch.0.join("firn-image"), scratch.0.join("target"));
    let mut stage = Stage { place, scratch: scratch.0.clone(), firn_image, target, registry };
    std::fs::create_dir(&stage.target)?;
    let mut rows = Vec::new();
    for input in &inputs {
        for source in [Source::Layout, Source::Registry] {
            if source == Source::Registry && stage.registry.is_none() {
                println!("no docker-registry is installed: left out");
                continue;
            }
            let mut measured = measure(&mut stage, input, source, options.rounds)?;
            report::print(&measured);
            rows.append(&mut measured);
        }
    }
    if stage.registry.is_some() {
        let mut measured = rebuild::measure(&mut stage, options.rounds)?;
        report::print(&measured);
        rows.append(&mut measured);
    }
    let mut measured = closure::measure(&mut stage.place, &scratch.0)?;
    report::print(&measured);
    closure::sentence(&measured).iter().for_each(|sentence| println!("{sentence}"));
    rows.append(&mut measured);
    if let Some(path) = &options.json {
        let json: Vec<_> = rows.iter().map(Row::json).collect();
        std::fs::write(path, format!("{:#}\n", serde_json::Value::from(json)))?;
    }
    if let Some(docs) = &options.docs {
        report::write(&rows, &Machine::here(), docs)?;
    }
    Ok(())
}

/// All subjects in turns.
fn measure(stage: &mut Stage, input: &Input, source: Source, rounds: usize) -> Result<Vec<Row>> {
    println!("{}, {}", input.name, source.name());
    let mut lanes: Vec<(&Subject, Vec<Sample>)> = Vec::new();
    for subject in SUBJECTS.iter().filter(|subject| subject.is_installed()) {
        lanes.push((subject, Vec::new()));
    }
    let warm_up = WARM_UP.min(rounds - 1);
    for round in 0..rounds + warm_up {
        let mut failed = Vec::new();
        for at in order(round, lanes.len()) {
            let (subject, samples) = &mut lanes[at];
            let sample = run(stage, subject, input, source)?;
            if sample.status != 0 {
                println!("{} is out: status {}", subject.name, sample.status);
                failed.push(at);
            } else if round >= warm_up {
                samples.push(sample);
            }
        }
        failed.sort_unstable();
        failed.into_iter().rev().for_each(|at| drop(lanes.remove(at)));
    }
    let row = |(subject, samples): (&Subject, Vec<Sample>)| Row {
        command: "image",
        config: input.name,
        view: source.name(),
        subject: subject.name.into(),
        samples,
        base: "",
        ratio: Summary::default(),
        cpu_ratio: 0.0,
    };
    let mut rows: Vec<Row> = lanes.into_iter().map(row).collect();
    compare(&mut rows);
    Ok(rows)
}

/// Fills in the ratios to the slower floor.
fn compare(rows: &mut [Row]) {
    let floors = rows.iter().filter(|row| row.subject.starts_with("floor"));
    let Some(base) = floors.max_by(|a, b| a.times().median.total_cmp(&b.times().median)) else { return };
    let (times, cpu) = (base.milliseconds(), base.cpu());
    for row in rows {
        row.base = "the slower floor";
        row.ratio = Summary::of_ratios(&row.milliseconds(), &times);
        row.cpu_ratio = row.cpu() / cpu;
    }
}

/// One command, in an empty file system.
fn run(stage: &mut Stage, subject: &Subject, input: &Input, source: Source) -> Result<Sample> {
    stage.fresh_target()?;
    let mut daemon = subject.daemon.map(|start| start(stage)).transpose()?;
    let before = daemon.as_ref().map(subject::Daemon::cpu_milliseconds);
    let words = (subject.words)(stage, input, source);
    let mut sample = stage.place.run(&words)?;
    if let (Some(daemon), Some(before)) = (&mut daemon, before) {
        sample.cpu_milliseconds += daemon.cpu_milliseconds() - before;
        sample.peak_kib = sample.peak_kib.max(daemon.peak_kib());
    }
    drop(daemon);
    Ok(sample)
}
