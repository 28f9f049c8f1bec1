//! The command line.

use crate::Result;
use std::path::PathBuf;

pub const HELP: &str = "\
usage: firn-bench [--quick] [--rounds N] [--runtime NAME=PATH]… [--newest ROOT]
                  [--json FILE] [--docs FOLDER]
       firn-bench image [--quick] [--rounds N] [--json FILE] [--docs FOLDER]
       firn-bench network [--quick] [--rounds N] [--json FILE] [--docs FOLDER]
       firn-bench monitors [--quick] [--json FILE] [--docs FOLDER]
       firn-bench count calls|instructions FILE -- COMMAND…

Its neighbours firn and firn-floor are measured, and crun and runc where they are
installed.";

#[derive(Debug)]
pub struct Options {
    pub quick: bool,
    pub rounds: usize,
    pub runtimes: Vec<(String, PathBuf)>,
    /// A root with newer crun and runc.
    pub newest: Option<PathBuf>,
    pub json: Option<PathBuf>,
    /// Where BENCHMARKS.md goes.
    pub docs: Option<PathBuf>,
}

impl Options {
    /// Of `image`: a round takes minutes.
    pub fn of_images(args: &[String]) -> Result<Self> {
        let options = Self::parse(args)?;
        let given = args.iter().any(|arg| arg == "--rounds");
        let rounds = if options.quick { 1 } else { 5 };
        Ok(Self { rounds: if given { options.rounds } else { rounds }, ..options })
    }

    pub fn parse(args: &[String]) -> Result<Self> {
        let mut options =
            Options { quick: false, rounds: 0, runtimes: Vec::new(), newest: None, json: None, docs: None };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if arg == "--quick" {
                options.quick = true;
                continue;
            }
            let value = args.next().ok_or(HELP)?;
            match arg.as_str() {
                "--rounds" => options.rounds = value.parse().map_err(|_| "--rounds wants a number")?,
                "--runtime" => {
                    let (name, path) = value.split_once('=').ok_or("--runtime wants NAME=PATH")?;
                    options.runtimes.push((name.to_owned(), std::path::absolute(path)?));
                }
                "--newest" => options.newest = Some(value.into()),
                "--json" => options.json = Some(value.into()),
                "--docs" => options.docs = Some(value.into()),
                _ => return Err(HELP.into()),
            }
        }
        if options.rounds == 0 {
            options.rounds = if options.quick { 10 } else { 60 };
        }
        Ok(options)
    }
}
