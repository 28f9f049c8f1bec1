//! Nix's programs.

use super::cache::Cache;
use super::expression::Expression;
use super::inputs::Inputs;
use super::options::Options;
use super::traced;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

/// What Nix has answered.
#[derive(Debug)]
pub struct Answer {
    /// JSON.
    pub text: String,
    /// The name of the question in the cache.
    pub name: String,
    /// Whether it was asked before.
    pub is_kept: bool,
}

/// Evaluates a text that asks an expression for something, to JSON.
pub fn evaluate(expression: &Expression, text: &str, options: &Options, cache: &Cache) -> Result<Answer> {
    let arguments = common(expression, options);
    let name = name(&arguments, expression, text);
    if let Some(text) = cache.answer(&name) {
        return Ok(Answer { text, name, is_kept: true });
    }
    let mut all: Vec<OsString> = ["--eval", "--strict", "--json", "--read-write-mode"].map(Into::into).into();
    all.extend(arguments);
    all.push("-".into());
    find("nix-instantiate")?;
    let began = SystemTime::now();
    let ended = traced::run("nix-instantiate", &all, &expression.here, text, cache.keeps())?;
    if !ended.succeeded {
        bail!("{}", reason(&ended.stderr));
    }
    // Warnings of definitions and of NixOS are for who wrote them; not that of a Nix without build users,
    // of which evaluation has no need.
    for line in ended.stderr.lines().filter(|line| !line.starts_with("warning: the group 'nixbld'")) {
        eprintln!("{}", firn::log::printable(line));
    }
    let answer = String::from_utf8(ended.stdout).context("read what Nix printed")?;
    let inputs = ended.asked.and_then(|asked| Inputs::of(&asked, text, began, &cache.seen));
    if let Some(inputs) = inputs {
        cache.keep(&name, &answer, inputs)?;
    }
    Ok(Answer { text: answer, name, is_kept: false })
}

fn name(arguments: &[OsString], expression: &Expression, text: &str) -> String {
    let mut parts: Vec<&[u8]> = vec![text.as_bytes(), expression.here.as_os_str().as_bytes()];
    parts.extend(arguments.iter().map(|argument| argument.as_bytes()));
    Cache::name(&parts)
}

/// Builds a derivation, with Nix's progress on standard error; `link` keeps it from being collected.
pub fn build(derivation: &str, expression: &Expression, link: Option<&Path>, options: &Options) -> Result<()> {
    let mut nix = Command::new("nix-build");
    match link {
        Some(link) => nix.arg("--out-link").arg(link),
        None => nix.arg("--no-out-link"),
    };
    nix.args(common(expression, options)).arg(derivation).current_dir(&expression.here);
    let output = nix.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    find("nix-build")?;
    let output = output.output().context("run nix-build")?;
    if !output.status.success() {
        bail!("nix-build could not build {derivation}");
    }
    Ok(())
}

/// Builds a derivation, or keeps a file of the store; `link` keeps it from being collected.
pub fn realise(path: &str, expression: &Expression, link: Option<&Path>, options: &Options) -> Result<()> {
    if path.ends_with(".drv") {
        return build(path, expression, link, options);
    }
    let Some(link) = link else { return Ok(()) };
    find("nix-store")?;
    let mut nix = Command::new("nix-store");
    nix.args(["--realise", path, "--indirect", "--add-root"]).arg(link).stdin(Stdio::null()).stdout(Stdio::null());
    match nix.status().context("run nix-store")?.success() {
        true => Ok(()),
        false => bail!("nix-store could not keep {path}"),
    }
}

fn common(expression: &Expression, options: &Options) -> Vec<OsString> {
    let mut pwd = OsString::from("pwd=");
    pwd.push(&expression.here);
    ["-I".into(), pwd].into_iter().chain(options.arguments.iter().map(OsString::from)).collect()
}

/// Errors: a program is not in PATH.
pub fn find(program: &str) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    match std::env::split_paths(&path).any(|directory| directory.join(program).is_file()) {
        true => Ok(()),
        false => {
            bail!("{program} is not installed: install Nix (Debian: apt install nix-bin), or write TOML or JSON")
        }
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
