//! How several containers come up, live on a terminal: a line for each. Elsewhere a line for each that is
//! over.

use firn_shim::control::protocol::Status;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The lines.
#[derive(Debug)]
pub struct Progress {
    /// Where stderr is a terminal.
    bars: Option<(MultiProgress, Mutex<BTreeMap<String, ProgressBar>>)>,
    width: usize,
}

/// The line of one container.
#[derive(Debug)]
pub struct Step<'a> {
    progress: &'a Progress,
    name: String,
    bar: Option<ProgressBar>,
    began: Instant,
}

impl Progress {
    /// Of containers with these names; all of them wait.
    pub fn new<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Self {
        let width = names.clone().map(str::len).max().unwrap_or(0);
        let is_live = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let bars = is_live.then(|| {
            let multi = MultiProgress::new();
            let bars = names.map(|name| {
                let bar = multi.add(ProgressBar::new_spinner().with_style(style()));
                bar.set_message(format!("{name:width$}  waiting"));
                (name.to_owned(), bar)
            });
            let bars = bars.collect();
            (multi, Mutex::new(bars))
        });
        Progress { bars, width }
    }

    /// It is a container's turn.
    pub fn begin(&self, name: &str, what: &str) -> Step<'_> {
        let bar = self
            .bars
            .as_ref()
            .and_then(|(_, bars)| bars.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(name).cloned());
        let step = Step { progress: self, name: name.into(), bar, began: Instant::now() };
        if let Some(bar) = &step.bar {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        step.say(what);
        step
    }

    fn print(&self, text: &str) {
        match &self.bars {
            // It prints on the terminal, above the lines.
            Some((multi, _)) => drop(multi.println(text)),
            None => drop(writeln!(std::io::stderr(), "{text}")),
        }
    }
}

impl Step<'_> {
    /// What it does now.
    pub fn say(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{:width$}  {what}", self.name, width = self.progress.width));
        }
    }

    /// What its monitor says.
    pub fn tell(&self, status: &Status) {
        match &status.status_text {
            Some(text) => self.say(&format!("{}: {}", status.state.name(), firn::log::printable(text))),
            None => self.say(status.state.name()),
        }
    }

    /// What people have to know besides.
    pub fn warn(&self, what: &str) {
        self.progress.print(&format!("{:width$}  {what}", self.name, width = self.progress.width));
    }

    /// It is over.
    pub fn end(self, what: &str) {
        let time = self.began.elapsed().as_secs_f64();
        let text = format!("{:width$}  {what} ({time:.1} s)", self.name, width = self.progress.width);
        match &self.bar {
            Some(bar) => {
                bar.disable_steady_tick();
                bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| style()));
                bar.finish_with_message(text);
            }
            None => self.progress.print(&text),
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}
