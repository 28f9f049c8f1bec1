//! Nix's programs.

use super::expression::Expression;
use super::options::Options;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Evaluates what is asked of an expression, to JSON.
pub fn evaluate(expression: &Expression, what: &str, options: &Options) -> Result<Vec<u8>> {
    let mut nix = Command::new("nix-instantiate");
    nix.args(["--eval", "--strict", "--json", "--read-write-mode"]).args(common(expression, options)).arg("-");
    nix.current_dir(&expression.directory).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = nix.spawn().map_err(|error| missing(error, "nix-instantiate"))?;
    let mut stdin = child.stdin.take().context("nix-instantiate has no standard input")?;
    let text = expression.asking(what);
    // Nix reads all of it before it prints. What it does not read, its error explains.
    let _ = stdin.write_all(text.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().context("run nix-instantiate")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{}", reason(&said));
    }
    // Warnings of definitions and of NixOS are for who wrote them.
    eprint!("{said}");
    Ok(output.stdout)
}

/// Builds a derivation, with Nix's progress on standard error; `link` keeps it from being collected.
pub fn build(derivation: &str, expression: &Expression, link: Option<&Path>, options: &Options) -> Result<()> {
    let mut nix = Command::new("nix-build");
    match link {
        Some(link) => nix.arg("--out-link").arg(link),
        None => nix.arg("--no-out-link"),
    };
    nix.args(common(expression, options)).arg(derivation).current_dir(&expression.directory);
    let output = nix.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let output = output.output().map_err(|error| missing(error, "nix-build"))?;
    if !output.status.success() {
        bail!("nix-build could not build {derivation}");
    }
    Ok(())
}

fn common(expression: &Expression, options: &Options) -> Vec<OsString> {
    let mut pwd = OsString::from("pwd=");
    pwd.push(&expression.here);
    ["-I".into(), pwd].into_iter().chain(options.arguments.iter().map(OsString::from)).collect()
}

fn missing(error: std::io::Error, program: &str) -> anyhow::Error {
    match error.kind() {
        ErrorKind::NotFound => anyhow::anyhow!(
            "{program} is not installed: install Nix (Debian: apt install nix-bin), or write TOML or JSON"
        ),
        _ => anyhow::Error::new(error).context(format!("run {program}")),
    }
}

/// From the error on, without the warnings before it.
fn reason(stderr: &str) -> String {
    let error = stderr.find("error:").map_or(stderr, |at| &stderr[at + "error:".len()..]);
    error.trim().to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn warnings_are_no_reason() {
        let said =
            "warning: the group 'nixbld' does not exist\nerror: undefined variable 'x'\n\n       at (string):1:1:\n";
        assert_eq!(super::reason(said), "undefined variable 'x'\n\n       at (string):1:1:");
    }
}
