//! `firnctl logs`: what containers have printed.

use super::places::{PlaceArgs, find};
use crate::generation::Container;
use crate::interrupt;
use crate::log::read::tail;
use crate::view::answer::{Form, stream};
use crate::view::output::{self, Said, Shown};
use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};

/// Show what containers have printed; as JSON an object a line.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Names of containers.
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Go on with what they print, until they end.
    #[arg(long, short)]
    follow: bool,
    /// Begin with so many of the last lines; all if not given.
    #[arg(long, short = 'n', value_name = "N")]
    tail: Option<usize>,
    /// Show the time of each line.
    #[arg(long, short)]
    timestamps: bool,
    #[command(flatten)]
    form: Form,
}

/// Prints them.
pub fn run(arguments: &LogsArgs, places: &PlaceArgs) -> Result<()> {
    places.become_owner()?;
    let places = places.places()?;
    let containers = arguments.names.iter().map(|name| find(&places, name)).collect::<Result<Vec<_>>>()?;
    let width = containers.iter().map(|container| container.name.len()).max().unwrap_or(0);
    let show = |text: String| {
        stream(&text);
        Ok(())
    };
    let print_said = |container: &Container, said: &Said<'_>| {
        if arguments.form.json {
            return show(format!("{}\n", as_json(container, said)));
        }
        let name = if containers.len() > 1 { format!("{:width$} | ", container.name) } else { String::new() };
        match said {
            Said::Line(line) if arguments.timestamps => show(format!("{name}{} {}\n", line.time, line.text)),
            Said::Line(line) => show(format!("{name}{}\n", line.text)),
            // The end of a container is told where several are shown.
            Said::End(how) if containers.len() > 1 => show(format!("{name}({how})\n")),
            Said::End(_) => Ok(()),
        }
    };
    interrupt::watch()?;
    // From before the tail is read, which ends where this begins: no line falls between, and none comes
    // twice.
    let mut shown = match arguments.follow {
        true => containers.iter().map(Shown::begin).collect::<Result<Vec<_>>>()?,
        false => Vec::new(),
    };
    for (number, container) in containers.iter().enumerate() {
        let end = shown.get(number).map(|shown| shown.log.position().unwrap_or_default());
        let lines = tail(&container.log(), arguments.tail.unwrap_or(usize::MAX), end);
        for line in lines.with_context(|| format!("read the log of {}", container.name))? {
            print_said(container, &Said::Line(&line))?;
        }
    }
    output::follow(&mut shown, &print_said)
}

fn as_json(container: &Container, said: &Said<'_>) -> Value {
    match said {
        Said::Line(line) => {
            let stream = if line.is_stderr { "stderr" } else { "stdout" };
            json!({"name": container.name, "time": line.time, "stream": stream, "text": line.text})
        }
        Said::End(how) => json!({"name": container.name, "end": how}),
    }
}
