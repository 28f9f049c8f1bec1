//! The expression that Nix is given: the definition's text, and what makes definitions and systems of it.

use super::options::Options;
use crate::definition::source::Text;
use crate::definition::structure;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// The part of the Nix code that evaluates definitions.
const EVALUATE: &str = include_str!("../../../../nix/eval/default.nix");
/// What a system needs to be a container.
const BASE: &str = include_str!("../../../../nix/base.nix");
/// Makes the module system's options of the schema.
const OPTIONS: &str = include_str!("../../../../nix/options.nix");

/// A definition as Nix is given it.
#[derive(Debug)]
pub struct Expression {
    pub text: String,
    /// The working directory, from which relative paths of the command line count; `<pwd/…>`.
    pub here: PathBuf,
}

impl Expression {
    /// Errors: the attribute is no attribute path.
    pub fn new(text: &Text, options: &Options, ssh_key: Option<&str>) -> Result<Self> {
        let source = match &text.file {
            Some(file) => format!("import (/. + {})", quoted(&path(file)?)),
            None => text.content.clone(),
        };
        let attribute = options.attribute.as_deref().map(selection).transpose()?.unwrap_or_default();
        let argument = |name: &str, expression: &Option<String>| match expression {
            Some(expression) => format!("{name} = ({expression}\n);"),
            None => String::new(),
        };
        // The text comes first, so that lines in Nix's errors are its own.
        let whole = format!(
            "let firnSource = {source}\n; firnEvaluate =\n{EVALUATE}\n; firnOptions =\n{OPTIONS}\n; firnBase =\n{BASE}\n;
             in stateVersions: firnEvaluate {{
               inherit stateVersions;
               {} {} {}
               base = firnBase;
               options = {{ lib }}: firnOptions {{ inherit lib; schema = builtins.fromJSON {}; }};
             }} (firnSource{attribute})",
            argument("nixpkgs", &options.nixpkgs),
            argument("nixosPath", &options.nixos),
            argument("enableSSH", &options.enables_ssh.then(|| "true".into()))
                + &argument("sshKey", &ssh_key.map(quoted)),
            quoted(&structure::schema().to_string()),
        );
        let here = std::env::current_dir().context("find the working directory")?;
        Ok(Expression { text: whole, here })
    }

    /// The outline, as the whole text for Nix.
    pub fn outline(&self) -> String {
        format!("(({}) {{ }}).outline", self.text)
    }

    /// A container's system, with the release that its state is of where that is said.
    pub fn system(&self, name: &str, state_version: Option<&str>) -> String {
        let name = quoted(name);
        let versions = state_version.map(|version| format!("${{{name}}} = {};", quoted(version)));
        format!(
            "let all = ({}) {{ {} }}; system = all.systems.${{{name}}}; in
             {{ derivation = system.drvPath; path = system.outPath; release = all.releases.${{{name}}}; }}",
            self.text,
            versions.unwrap_or_default()
        )
    }
}

fn path(file: &Path) -> Result<String> {
    let text = file.to_str().with_context(|| format!("{}: Nix takes paths in UTF-8 only", file.display()))?;
    Ok(text.to_owned())
}

/// As a string of Nix.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\' | '$') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted + "\""
}

/// `a."b.c"` as a selection.
fn selection(attribute: &str) -> Result<String> {
    let mut names = vec![String::new()];
    let mut is_quoted = false;
    for character in attribute.chars() {
        match character {
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => names.push(String::new()),
            other => names.last_mut().into_iter().for_each(|name| name.push(other)),
        }
    }
    if is_quoted || names.iter().any(String::is_empty) {
        bail!("--attr {attribute}: is no attribute path, as in a.b");
    }
    Ok(names.iter().map(|name| format!(".${{{}}}", quoted(name))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attribute_paths_are_those_of_nix() {
        assert_eq!(selection("a").unwrap(), ".${\"a\"}");
        assert_eq!(selection("a.\"b.c\".d").unwrap(), ".${\"a\"}.${\"b.c\"}.${\"d\"}");
        for wrong in ["", "a.", ".a", "a.\"b"] {
            assert!(selection(wrong).is_err(), "{wrong}");
        }
        assert_eq!(quoted("a\"${b}\\"), "\"a\\\"\\${b}\\\\\"");
    }
}
