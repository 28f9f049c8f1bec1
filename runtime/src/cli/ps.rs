//! `firn ps`.

use super::context::{Context, print};
use super::list::Format;
use crate::bail;
use crate::error::{Context as _, Result};
use crate::lifecycle::processes::processes;
use std::process::Command;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    format: Format,
    #[arg(value_name = "ID")]
    id: String,
    /// Options of ps(1) [default: -ef]
    #[arg(value_name = "PS OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

pub fn run(args: &Args, context: &Context) -> Result<u8> {
    let pids = processes(&context.root, &args.id)?;
    if args.format == Format::Json {
        print(&format!("{}\n", serde_json::json!(pids)))?;
        return Ok(0);
    }
    let options = if args.options.is_empty() { vec!["-ef".to_owned()] } else { args.options.clone() };
    let output = Command::new("ps").args(&options).output().doing(|| "run ps(1)")?;
    if !output.status.success() {
        bail!("ps {}: {}", options.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    print(&filter(&String::from_utf8_lossy(&output.stdout), &pids)?)?;
    Ok(0)
}

/// The lines of ps(1) whose PID is in `pids`.
fn filter(table: &str, pids: &[i32]) -> Result<String> {
    let mut lines = table.lines();
    let head = lines.next().unwrap_or_default();
    let Some(column) = head.split_whitespace().position(|title| title == "PID") else {
        bail!("ps prints no PID column with these options");
    };
    let ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|field| field.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    Ok([head].into_iter().chain(lines.filter(ours)).map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn only_the_containers_lines_stay() {
        let table = "UID PID CMD\nroot 1 init\nroot 12 x 1\n";
        assert_eq!(filter(table, &[12]).unwrap(), "UID PID CMD\nroot 12 x 1\n");
        assert!(filter("UID CMD\n", &[1]).is_err());
    }
}
