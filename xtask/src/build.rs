//! Building, and calling other programs.

use crate::Result;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The programs that are installed.
pub const BINARIES: [&str; 6] = ["firn", "firn-image", "firn-init", "firn-shim", "firnctl", "firn-network"];

pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}

pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace());
    cargo
}

/// Runs a command to its end and fails if it does.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|e| format!("{}: {e}", command.get_program().to_string_lossy()))?;
    if !status.success() {
        return Err(format!("{} failed: {status}", shown(command)).into());
    }
    Ok(())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The directory with the static release binaries, built if they are not.
pub fn release() -> Result<PathBuf> {
    let others = ["firn-floor", "firn-bench", "firn-conformance"];
    let packages = BINARIES.iter().chain(&others).flat_map(|name| ["--package", name]);
    run(cargo().args(["build", "--release", "--quiet", "--bins"]).args(packages))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    Ok(target.join(triple()?).join("release"))
}

/// The test programs of what cargo's options choose, built: names and files.
pub fn test_programs(options: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    let mut build = cargo();
    build.args(["test", "--no-run", "--message-format", "json"]).args(options);
    let output = build.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("the tests don't build".into());
    }
    let mut programs = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        let is_test = message["profile"]["test"] == true;
        if let (true, Some(file)) = (is_test, message["executable"].as_str()) {
            let name = message["target"]["name"].as_str().ok_or("a target without a name")?;
            programs.push((name.to_owned(), Path::new(file).to_owned()));
        }
    }
    Ok(programs)
}

/// What `build.target` in .cargo/config.toml comes to on this machine.
fn triple() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("rustc -vV names no host")?.to_owned())
}
