//! What came out of the guests, for people, as JUnit and as JSON.

use super::boot::{End, Outcome};
use crate::Result;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// The tests of one guest.
#[derive(Debug)]
pub struct Run {
    guest: String,
    end: String,
    ended_well: bool,
    console: String,
    tests: Vec<Test>,
}

#[derive(Debug)]
struct Test {
    name: String,
    /// `ok`, `skipped`, `failed`, `hung`, or `flaky`: it passed the second time.
    result: String,
    seconds: f64,
    output: String,
}

impl Run {
    /// From the events that the guest wrote as it went. What was begun and did
    /// not end is `hung`.
    pub fn read(guest: &str, outcome: &Outcome) -> Self {
        let text = std::fs::read_to_string(outcome.events()).unwrap_or_default();
        let mut tests: Vec<Test> = Vec::new();
        let mut complete = false;
        for line in text.lines() {
            // The last line may be cut.
            let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
            let name = event["test"].as_str().unwrap_or_default();
            match event["event"].as_str() {
                Some("begin") => {
                    let (name, result) = (name.to_owned(), "hung".to_owned());
                    tests.push(Test { name, result, seconds: 0.0, output: String::new() });
                }
                Some("end-test") => {
                    let Some(test) = tests.iter_mut().find(|test| test.name == name) else { continue };
                    test.result = event["result"].as_str().unwrap_or_default().to_owned();
                    test.seconds = event["seconds"].as_f64().unwrap_or(0.0);
                    test.output = event["output"].as_str().unwrap_or_default().to_owned();
                }
                Some("end") => complete = true,
                _ => {}
            }
        }
        let ended_well = outcome.end == End::Finished(0) && complete && !tests.is_empty();
        let end = match (&outcome.end, complete) {
            (End::Finished(0), false) => "the tests did not run to their end".into(),
            (end, _) => end.to_string(),
        };
        Run { guest: guest.into(), end, ended_well, console: outcome.console().display().to_string(), tests }
    }

    fn count(&self, result: &str) -> usize {
        self.tests.iter().filter(|test| test.result == result).count()
    }

    fn failed(&self) -> bool {
        !self.ended_well || self.count("failed") + self.count("hung") > 0
    }

    fn line(&self) -> String {
        let words = ["ok", "flaky", "failed", "hung", "skipped"];
        let [ok, flaky, failed, hung, skipped] = words.map(|word| self.count(word));
        let mut line = format!("{:12} {ok} passed, {failed} failed, {hung} hung, {skipped} skipped", self.guest);
        if flaky > 0 {
            let _ = write!(line, ", {flaky} flaky: passed the second time");
        }
        if self.failed() {
            let _ = write!(line, "; {}; console: {}", self.end, self.console);
        }
        line
    }
}

/// Writes report.json and junit.xml, prints a line for each guest and each
/// reason why something was skipped; fails if a test or a guest did.
pub fn write(runs: &[Run], directory: &Path) -> Result<()> {
    let (json_file, junit_file) = (directory.join("report.json"), directory.join("junit.xml"));
    std::fs::write(&json_file, serde_json::to_string_pretty(&as_json(runs))?)?;
    std::fs::write(&junit_file, as_junit(runs))?;
    for run in runs {
        println!("{}", run.line());
        for test in run.tests.iter().filter(|test| ["failed", "hung", "flaky"].contains(&test.result.as_str())) {
            println!("             {} {}", test.result, test.name);
        }
        let skipped = run.tests.iter().filter(|test| test.result == "skipped");
        let mut reasons: Vec<String> = skipped.flat_map(|test| reasons(&test.output)).map(String::from).collect();
        reasons.sort();
        for same in reasons.chunk_by(|one, other| one == other) {
            println!("             {} {}", same.len(), same[0]);
        }
    }
    // Once more at the end, where a log that was cut in its middle still has it.
    let went_wrong = |test: &&Test| ["failed", "hung", "flaky"].contains(&test.result.as_str());
    for run in runs {
        for test in run.tests.iter().filter(went_wrong) {
            println!("{}: {} {}:\n{}", run.guest, test.result, test.name, last_lines(&test.output, 40));
        }
    }
    println!("reports: {}, {}", json_file.display(), junit_file.display());
    match runs.iter().filter(|run| run.failed()).map(|run| run.guest.as_str()).collect::<Vec<_>>() {
        failed if failed.is_empty() => Ok(()),
        failed => Err(format!("tests failed in {}", failed.join(", ")).into()),
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Why a test was skipped, or a part of it.
fn reasons(output: &str) -> impl Iterator<Item = &str> {
    output.lines().filter_map(|line| Some(&line[line.find("skipped: ")?..]))
}

fn as_json(runs: &[Run]) -> Value {
    let test =
        |test: &Test| json!({"name": test.name, "result": test.result, "seconds": test.seconds, "output": test.output});
    let run = |run: &Run| {
        let tests: Vec<Value> = run.tests.iter().map(test).collect();
        json!({"guest": run.guest, "end": run.end, "passed": !run.failed(), "tests": tests})
    };
    Value::Array(runs.iter().map(run).collect())
}

fn as_junit(runs: &[Run]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for run in runs {
        let (failures, skipped) = (run.count("failed") + run.count("hung"), run.count("skipped"));
        let count = run.tests.len() + 1;
        let errors = usize::from(!run.ended_well);
        let seconds: f64 = run.tests.iter().map(|test| test.seconds).sum();
        let _ = writeln!(
            xml,
            "<testsuite name=\"{}\" tests=\"{count}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" time=\"{seconds:.3}\">",
            run.guest
        );
        // The guest itself is a case, so that one that hangs is seen as such.
        let end = if run.ended_well { String::new() } else { format!("<error message=\"{}\"/>", escaped(&run.end)) };
        let _ = writeln!(xml, "<testcase classname=\"{}\" name=\"guest\">{end}</testcase>", run.guest);
        for test in &run.tests {
            let _ = writeln!(xml, "{}", junit_case(&run.guest, test));
        }
        xml.push_str("</testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn junit_case(guest: &str, test: &Test) -> String {
    let output = escaped(&test.output);
    let inner = match test.result.as_str() {
        "ok" => String::new(),
        "flaky" => format!("<system-out>{output}</system-out>"),
        "skipped" => {
            let reasons: Vec<&str> = reasons(&test.output).collect();
            format!("<skipped message=\"{}\"/>", escaped(&reasons.join("; ")))
        }
        result => format!("<failure message=\"{result}\">{output}</failure>"),
    };
    let name = escaped(&test.name);
    format!("<testcase classname=\"{guest}\" name=\"{name}\" time=\"{:.3}\">{inner}</testcase>", test.seconds)
}

/// For XML, which has no way to write most control characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
