//! Runs test programs one test at a time, each as a process of its own with a
//! time limit, and tells what happens as it happens: lines for people on stdout,
//! JSON for programs in the file of `--events`. For machines without cargo.

#![forbid(unsafe_code)]

use firn_conformance::harness::suite::{Case, Verdict, cases};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const USAGE: &str = "\
usage: firn-suite [--events FILE] [--limit SECONDS] [--jobs N] [--twice]
                  [--only PREFIX]... [--except PREFIX]... [--alone PREFIX]... TEST...
  TEST      a test program, as `cargo test --no-run` makes it
  --twice   runs what failed once more, alone; if it passes then, it is flaky,
            which is told and is no failure
  --only    runs the tests whose name begins with PREFIX, as in lifecycle::kill
  --except  leaves them out
  --alone   runs them after the others and one at a time";

struct Options {
    events: Option<PathBuf>,
    limit: Duration,
    jobs: usize,
    twice: bool,
    only: Vec<String>,
    except: Vec<String>,
    alone: Vec<String>,
    programs: Vec<PathBuf>,
}

impl Options {
    fn choose(&self, name: &str) -> bool {
        (self.only.is_empty() || begins(&self.only, name)) && !begins(&self.except, name)
    }
}

fn begins(prefixes: &[String], name: &str) -> bool {
    prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
}

fn main() -> ExitCode {
    let Some(options) = options(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("firn-suite: {error}");
            ExitCode::from(2)
        }
    }
}

fn options(mut words: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options {
        events: None,
        limit: Duration::from_secs(300),
        jobs: 1,
        twice: false,
        only: Vec::new(),
        except: Vec::new(),
        alone: Vec::new(),
        programs: Vec::new(),
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--events" => options.events = Some(words.next()?.into()),
            "--limit" => options.limit = Duration::from_secs(words.next()?.parse().ok()?),
            "--jobs" => options.jobs = words.next()?.parse().ok().filter(|jobs| *jobs > 0)?,
            "--twice" => options.twice = true,
            "--only" => options.only.push(words.next()?),
            "--except" => options.except.push(words.next()?),
            "--alone" => options.alone.push(words.next()?),
            program if !program.starts_with('-') => options.programs.push(program.into()),
            _ => return None,
        }
    }
    (!options.programs.is_empty()).then_some(options)
}

/// Whether every test passed.
fn run(options: &Options) -> std::io::Result<bool> {
    let mut all = Vec::new();
    for program in &options.programs {
        all.extend(cases(program)?.into_iter().filter(|case| options.choose(&case.name)));
    }
    let events = options.events.as_ref().map(|path| std::fs::OpenOptions::new().append(true).create(true).open(path));
    let report = Mutex::new(Report { events: events.transpose()?, failed: Vec::new(), skipped: Vec::new() });
    report.lock().expect("no panics").event(&json!({"event": "plan", "tests": all.len()}));
    let (alone, beside): (Vec<_>, Vec<_>) = all.iter().partition(|case| begins(&options.alone, &case.name));
    run_all(&beside, options.jobs, options.limit, &report);
    run_all(&alone, 1, options.limit, &report);
    let mut report = report.into_inner().expect("no panics");
    let flaky = if options.twice { report.run_again(&all, options.limit) } else { 0 };
    report.event(&json!({"event": "end"}));
    let (failed, skipped) = (report.failed.len(), report.skipped.len());
    println!("{} tests, {failed} failed, {flaky} flaky, {skipped} skipped", all.len());
    // Each reason once, with what it skipped.
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (reason, name) in &report.skipped {
        reasons.entry(reason).or_default().push(name);
    }
    for (reason, names) in reasons {
        println!("{} {reason}: {}", names.len(), names.join(", "));
    }
    for (name, _) in &report.failed {
        println!("failed: {name}");
    }
    Ok(failed == 0)
}

/// Runs the tests, `jobs` at a time.
fn run_all(cases: &[&Case], jobs: usize, limit: Duration, report: &Mutex<Report>) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    report.lock().expect("no panics").begin(case);
                    let verdict = case.run(limit);
                    report.lock().expect("no panics").end(case, &verdict);
                }
            });
        }
    });
}

struct Report {
    events: Option<std::fs::File>,
    /// By the tests' names, and what they said.
    failed: Vec<(String, String)>,
    /// Why, and the test.
    skipped: Vec<(String, String)>,
}

impl Report {
    /// Returns how many of those that failed have passed now.
    fn run_again(&mut self, all: &[Case], limit: Duration) -> usize {
        let mut flaky = 0;
        for (name, first) in std::mem::take(&mut self.failed) {
            let Some(case) = all.iter().find(|case| case.name == name) else { continue };
            let mut verdict = case.run(limit);
            if verdict.word() == "ok" {
                verdict.output = first;
                flaky += 1;
                self.tell(case, "flaky", &verdict);
            } else {
                verdict.output = format!("the first time:\n{first}\nthe second time:\n{}", verdict.output);
                self.end(case, &verdict);
            }
        }
        flaky
    }

    fn event(&mut self, event: &serde_json::Value) {
        if let Some(file) = &mut self.events {
            writeln!(file, "{event}").expect("write the event");
        }
    }

    fn begin(&mut self, case: &Case) {
        self.event(&json!({"event": "begin", "test": case.name}));
    }

    fn end(&mut self, case: &Case, verdict: &Verdict) {
        let word = verdict.word();
        self.tell(case, word, verdict);
        match word {
            "failed" | "hung" => {
                println!("{}", verdict.output.trim_end());
                self.failed.push((case.name.clone(), verdict.output.clone()));
            }
            "skipped" => {
                let skips = verdict.skips().map(|reason| (reason.to_owned(), case.name.clone()));
                self.skipped.extend(skips);
                verdict.skips().for_each(|reason| println!("        {reason}"));
            }
            _ => {}
        }
    }

    fn tell(&mut self, case: &Case, word: &str, verdict: &Verdict) {
        println!("{word:8} {:6.1} s  {}", verdict.seconds, case.name);
        let output = if word == "ok" { "" } else { &verdict.output };
        let event = json!({"event": "end-test", "test": case.name, "result": word, "seconds": verdict.seconds, "output": output});
        self.event(&event);
    }
}
