//! `run` of a program that ends at once.

use crate::Result;
use crate::contest::{Bench, Lane, WARM_UP, order};
use crate::place::Sample;
use crate::row::Row;
use crate::statistics::Summary;
use firn_bench::engine::Stand;
use firn_bench::score;
use firn_bench::view::View;
use std::ffi::OsString;
use std::path::Path;

pub fn measure(bench: &mut Bench, view: View, config: &'static str) -> Result<Vec<Row>> {
    println!("run, {config}'s config, cgroup {}", view.name());
    // The floor is the first, firn the second.
    let mut lanes: Vec<Run> = Vec::new();
    let sheet = floor_sheet(bench, view, config, &format!("bench-floor-{config}"))?;
    lanes.push((Lane { subject: "floor".into(), root: None, out: false }, bench.floor(&sheet), Vec::new()));
    for subject in bench.subjects.clone() {
        let words = run_words(bench, &subject, view, config, "")?;
        lanes.push((bench.lane(&subject, view), words, Vec::new()));
    }
    let mut round = 0;
    while round < bench.rounds + WARM_UP || (round < 3 * bench.rounds && is_noisy(&lanes)) {
        for at in order(round, lanes.len()) {
            let (lane, words, samples) = &mut lanes[at];
            if lane.out {
                continue;
            }
            // Twice, and the second counts: what the kernel still takes down of
            // a container that has ended is then the subject's own. A pause
            // would not do: an idle machine is slower at all of this.
            if lane.run(bench, view, words)?.is_some()
                && let Some(sample) = lane.run(bench, view, words)?
                && round >= WARM_UP
            {
                samples.push(sample);
            }
        }
        round += 1;
    }
    let row = |(lane, _, samples): Run| Row {
        command: "run",
        config,
        view: view.name(),
        subject: lane.subject,
        samples,
        base: "",
        ratio: Summary::default(),
        cpu_ratio: 0.0,
    };
    Ok(lanes.into_iter().filter(|(lane, ..)| !lane.out).map(row).collect())
}

type Run = (Lane, Vec<OsString>, Vec<Sample>);

/// Whether the ratio of firn to the floor is still wide: then more rounds help.
fn is_noisy(lanes: &[Run]) -> bool {
    let times = |at: usize| lanes[at].2.iter().map(|sample| sample.milliseconds).collect::<Vec<_>>();
    let ratio = Summary::of_ratios(&times(1), &times(0));
    ratio.upper > 1.3 * ratio.lower
}

/// Writes the floor's score for a container of that name.
pub fn floor_sheet(bench: &Bench, view: View, config: &str, id: &str) -> Result<std::path::PathBuf> {
    let layout = view.layout();
    let config = Stand::config(bench.config(config), view, id, &["/bin/true"]);
    let plan = score::plan(&config, id, &layout).map_err(|e| e.chain())?;
    let path = bench.scratch.0.join(format!("{id}-{}.score", view.name()));
    std::fs::write(&path, score::container(&plan, &layout))?;
    Ok(path)
}

/// `run` of a bundle of its own; `lane` tells several of a subject apart.
pub fn run_words(
    bench: &Bench,
    subject: &crate::subject::Subject,
    view: View,
    config: &str,
    lane: &str,
) -> Result<Vec<OsString>> {
    let id = format!("bench-{}-{config}{lane}", subject.word());
    let json = Stand::config(bench.config(config), view, &id, &["/bin/true"]);
    let bundle = bench.stand.bundle(&format!("{id}-{}", view.name()), &json)?;
    let state = subject.state(&bench.scratch.0, view);
    Ok(subject.line(&state, &["run", "--bundle", &text(&bundle), &id]))
}

pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
