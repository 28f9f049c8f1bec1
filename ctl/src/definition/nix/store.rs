//! Definitions whose systems are built, as a file of the Nix store.

use super::expression::quoted;
use super::program::find;
use crate::definition::Loaded;
use crate::definition::schema::Project;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const STORE: &str = "/nix/store/";

/// Adds a JSON file with the containers, as they are kept as long as it is: it refers to their systems.
pub fn add(loaded: &Loaded) -> Result<PathBuf> {
    let containers = loaded.instances.iter().map(|instance| (instance.name.clone(), instance.definition.clone()));
    let project = Project { schema: None, containers: containers.collect() };
    let text = serde_json::to_string_pretty(&project).context("write the definitions as JSON")?;
    let references = store_paths(&text).into_iter().filter(|path| Path::new(path).exists());
    let context: String = references.map(|path| format!("{} = {{ path = true; }};", quoted(&path))).collect();
    let expression =
        format!("builtins.toFile \"firn-containers.json\" (builtins.appendContext {} {{ {context} }})", quoted(&text));
    find("nix-instantiate")?;
    let mut nix = Command::new("nix-instantiate");
    nix.args(["--eval", "--read-write-mode", "--json", "-"]);
    let mut nix = nix.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("run nix-instantiate")?;
    let written = nix.stdin.take().context("a pipe")?.write_all(expression.as_bytes());
    let output = nix.wait_with_output().context("run nix-instantiate")?;
    if !output.status.success() {
        bail!("nix-instantiate could not add the containers to the store");
    }
    written.context("write to nix-instantiate")?;
    serde_json::from_slice(&output.stdout).context("read what Nix printed")
}

/// The store paths that a text names, without what is below them.
fn store_paths(text: &str) -> BTreeSet<String> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || "+-._?=".contains(c);
    let names = text.split(STORE).skip(1).map(|rest| rest.split(|c| !is_of_name(c)).next().unwrap_or_default());
    // 32 digits of the hash, a dash, the name (Nix manual, "Store Path").
    names.filter(|name| name.as_bytes().get(32) == Some(&b'-')).map(|name| format!("{STORE}{name}")).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn store_paths_are_found_in_text() {
        let hash = "0123456789abcdfghijklmnpqrsvwxyz";
        let text = format!("\"/nix/store/{hash}-a-1.2/bin/x\", \"/nix/store/short\" /nix/store/{hash}-b\"");
        let paths: Vec<String> = super::store_paths(&text).into_iter().collect();
        assert_eq!(paths, [format!("/nix/store/{hash}-a-1.2"), format!("/nix/store/{hash}-b")]);
    }
}
