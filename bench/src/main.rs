//! `cargo xtask bench`: firn against other runtimes and against the floor, in
//! turns, so that what the machine does besides hits all of them alike.
//!
//! | module | what it holds |
//! |---|---|
//! | `options`, `machine` | the command line; where this runs |
//! | `subject`, `place` | a runtime; a mount namespace in which commands run and are timed |
//! | `contest` | subjects in turns, round after round |
//! | `runs`, `lifecycle`, `scale`, `parallel` | what is measured |
//! | `statistics`, `row` | times and ratios |
//! | `table`, `document`, `parts`, `plot` | how it is shown |
//! | `trace` | counting system calls and instructions |
//! | `network` | the network of a container, beside ip and nft |
//! | `monitors` | memory of what stays with idle containers, beside conmon and containerd |
//! | `image` | images unpacked, beside other programs |

mod contest;
mod document;
mod image;
mod lifecycle;
mod machine;
mod monitors;
mod network;
mod options;
mod parallel;
mod parts;
mod place;
mod plot;
mod row;
mod runs;
mod scale;
mod statistics;
mod subject;
mod table;
mod trace;

use contest::Bench;
use firn_bench::counts;
use firn_bench::view::View;
use options::Options;
use row::Report;
use std::process::ExitCode;

/// What went wrong, for the person at the keyboard.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.split_first() {
        Some((word, rest)) if word == "count" => trace::run(rest),
        Some((word, rest)) if word == "floor" => image::run_floor(rest),
        Some((word, rest)) if word == "image" => Options::of_images(rest).and_then(|options| image::bench(&options)),
        Some((word, [next, rest @ ..])) if word == "monitors" && next == "inside" => monitors::inside(rest),
        Some((word, rest)) if word == "monitors" => Options::parse(rest).and_then(|options| monitors::bench(&options)),
        Some((word, rest)) if word == "network" => Options::parse(rest).and_then(|options| network::bench(&options)),
        _ => Options::parse(&args).and_then(|options| bench(&options)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("firn-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &Options) -> Result<()> {
    let mut bench = Bench::new(options)?;
    let mut report = Report::new(&bench);
    for view in View::ALL {
        if !view.is_possible() {
            println!("this machine has no cgroup {}: left out", view.name());
            continue;
        }
        for config in ["podman", "spec"] {
            report.add(runs::measure(&mut bench, view, config)?);
        }
        report.add(lifecycle::measure(&mut bench, view)?);
    }
    report.scale = scale::measure(&mut bench)?;
    report.parallel = parallel::measure(&mut bench)?;
    if !options.quick {
        count_all(&mut bench, &mut report)?;
    }
    report.failed = std::mem::take(&mut bench.failed);
    table::print(&report);
    if let Some(path) = &options.json {
        std::fs::write(path, format!("{:#}\n", report.json()))?;
    }
    if let Some(directory) = &options.docs {
        document::write(&report, directory)?;
    }
    Ok(())
}

fn count_all(bench: &mut Bench, report: &mut Report) -> Result<()> {
    let counter = bench.scratch.0.join("firn-bench");
    std::fs::copy(std::env::current_exe()?, &counter)?;
    for subject in bench.subjects.clone() {
        println!("counting the system calls of {}", subject.name);
        let mut place = place::Place::open(counts::VIEW, subject.newest.as_deref(), &bench.scratch.0)?;
        let mut call = |words: &[&std::ffi::OsStr]| place.run(words).map(|sample| sample.status == 0);
        let both = subject.name == "firn";
        let counted = counts::Subject { program: &subject.program, stand: &bench.stand, counter: &counter };
        let counts = counted.count(both, &mut call)?;
        report.counts.push((subject.name, counts));
    }
    report.counts.push(("the floor".into(), count_floor(bench, &counter)?));
    Ok(())
}

/// The floor has `run` alone: its `exec` needs a container of another's.
fn count_floor(bench: &mut Bench, counter: &std::path::Path) -> Result<Vec<counts::Count>> {
    let sheet = runs::floor_sheet(bench, counts::VIEW, "podman", "bench-floor-count")?;
    let file = bench.scratch.0.join("count");
    let mut words = vec![counter.into(), "count".into(), "calls".into(), file.clone().into(), "--".into()];
    words.append(&mut bench.floor(&sheet));
    bench.place(counts::VIEW, None)?.run(&words)?;
    let calls = std::fs::read_to_string(file)?.trim().parse()?;
    let count = |command| counts::Count { command, calls: (command == "run").then_some(calls), instructions: None };
    Ok(counts::COMMANDS.into_iter().map(count).collect())
}
