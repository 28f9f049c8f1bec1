//! Several runs at a time: how many a second.

use crate::Result;
use crate::contest::{Bench, order};
use crate::place::Place;
use crate::row::Point;
use crate::runs::{floor_sheet, run_words};
use crate::statistics::Summary;
use firn_bench::view::View;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

const VIEW: View = View::V2;
const WIDEST: usize = 8;

/// A subject with a place and a command for each of its runs.
struct Team {
    subject: String,
    hands: Vec<(Place, Vec<OsString>)>,
}

pub fn measure(bench: &mut Bench) -> Result<Vec<Point>> {
    println!("runs in parallel, podman's config, cgroup v2");
    let mut teams = teams(bench)?;
    let (runs, repeats) = if bench.quick { (8, 1) } else { (24, 5) };
    let mut points = Vec::new();
    for width in [1, 2, 4, 8] {
        let mut rates = vec![Vec::new(); teams.len()];
        for repeat in 0..repeats {
            for at in order(repeat, teams.len()) {
                let rate = together(&mut teams[at].hands[..width], runs);
                rates[at].push(rate.map_err(|e| format!("{} with {width} at a time: {e}", teams[at].subject))?);
            }
        }
        for (team, rates) in teams.iter().zip(&rates) {
            let value = Summary::of(rates);
            points.push(Point { command: "run", subject: team.subject.clone(), number: width, value });
        }
    }
    Ok(points)
}

fn teams(bench: &Bench) -> Result<Vec<Team>> {
    let mut teams = Vec::new();
    let open = |root: &Option<PathBuf>| Place::open(VIEW, root.as_deref(), &bench.scratch.0);
    let floor = (0..WIDEST).map(|lane| {
        let sheet = floor_sheet(bench, VIEW, "podman", &format!("bench-floor-{lane}"))?;
        Ok((open(&None)?, bench.floor(&sheet)))
    });
    teams.push(Team { subject: "floor".into(), hands: floor.collect::<Result<_>>()? });
    for subject in bench.subjects.iter().filter(|subject| !bench.lane(subject, VIEW).out) {
        let hands = (0..WIDEST).map(|lane| {
            let words = run_words(bench, subject, VIEW, "podman", &format!("-{lane}"))?;
            Ok((open(&subject.newest)?, words))
        });
        teams.push(Team { subject: subject.name.clone(), hands: hands.collect::<Result<_>>()? });
    }
    Ok(teams)
}

/// All hands, until `runs` have been run by each; the rate of all.
fn together(hands: &mut [(Place, Vec<OsString>)], runs: usize) -> Result<f64> {
    let width = hands.len();
    let each = (runs / width).max(4);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let work = |(place, words): &mut (Place, Vec<OsString>)| -> std::io::Result<()> {
            for _ in 0..each {
                let sample = place.run(words)?;
                if sample.status != 0 {
                    return Err(std::io::Error::other(format!("status {}", sample.status)));
                }
            }
            Ok(())
        };
        let threads: Vec<_> = hands.iter_mut().map(|hand| scope.spawn(move || work(hand))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(std::io::Error::other("panic"))))
    })?;
    Ok((each * width) as f64 / begin.elapsed().as_secs_f64())
}
