//! Definitions as a Nix expression, evaluated by Nix to the JSON that the others are.

use super::document::{Document, Node};
use super::source::Text;
use anyhow::{Context, Result, bail};
use std::io::ErrorKind;
use std::process::{Command, Stdio};

/// Evaluates the text, which yields `{ containers.NAME = …; }`.
pub fn evaluate(text: &Text) -> Result<Document> {
    let mut nix = Command::new("nix-instantiate");
    nix.args(["--eval", "--strict", "--json", "--read-write-mode"]).current_dir(&text.directory);
    match &text.file {
        Some(file) => nix.arg(file),
        None => nix.arg("--expr").arg(&text.content),
    };
    let output = nix.stdin(Stdio::null()).output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow::anyhow!(
            "{}: nix-instantiate is not installed: install Nix (Debian: apt install nix-bin), or write TOML or JSON",
            text.origin
        ),
        _ => anyhow::Error::new(error).context("run nix-instantiate"),
    })?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{}: Nix can't evaluate it: {}", text.origin, reason(&stderr));
    }
    let json =
        serde_json::from_slice(&output.stdout).with_context(|| format!("{}: read what Nix printed", text.origin))?;
    Ok(Document { origin: text.origin.clone(), text: String::new(), root: Node::from_json(json) })
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
