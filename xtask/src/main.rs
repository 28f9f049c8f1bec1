//! `cargo xtask`: what developers and packagers do with firn, one word each.

#![forbid(unsafe_code)]

mod bench;
mod build;
mod cache;
mod debian;
mod demo;
mod install;
#[cfg(feature = "manuals")]
mod manuals;
mod packages;
mod structure;
mod syscalls;
mod system;
mod test;
mod vm;

use std::process::ExitCode;

const HELP: &str = "\
usage: cargo xtask COMMAND

  demo                     build, make bundles, run them, show their life cycle
  test [--quick] [--no-vm] install what the tests need (Debian), run all of them;
                           --quick leaves out formatting and lints, --no-vm the
                           virtual machines
  vm [help]                Debian machines with systemd, to test in and to try
  bench [OPTION…]          firn against the floor and other runtimes, in turns;
                           --quick, --rounds N, --runtime NAME=PATH, --json FILE
  bench image [OPTION…]    images unpacked by firn-image and other programs;
                           --quick, --rounds N, --json FILE
  bench network [OPTION…]  the network of a container, beside ip and nft;
                           --rounds N, --json FILE
  bench monitors [OPTION…]
                           memory of firn-shim, conmon and containerd's shim with 1, 100
                           and 1,000 idle containers; --quick, --json FILE
  fuzz N                   N damaged archives, blobs, documents and references
  build                    the static release binaries
  install [--prefix DIR] [--links] [--system] [--built DIR]
                           binaries, man pages, completions and a unit [/usr/local]; --links: also
                           nixos-container and extra-container, by firnctl; --system: files in
                           /etc by which the host's network managers leave containers' links alone;
                           --built: the binaries are in DIR already
  syscalls CRATE HEADERS   the table of system calls, from the unpacked crate
                           `syscalls` and the kernel's asm/ headers
  structure                sizes of source files, and which way their imports point
";

/// What went wrong, for the person at the keyboard.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["demo"] => demo::run(),
        ["test", options @ ..] if options.iter().all(|option| ["--quick", "--no-vm"].contains(option)) => {
            let has = |option| options.contains(&option);
            test::run(test::Extent { checks: !has("--quick"), guests: !has("--no-vm") })
        }
        ["vm", words @ ..] => vm::run(words),
        ["bench", options @ ..] => bench::run(options),
        ["fuzz", number] => test::fuzz(number),
        ["build"] => build::release().map(drop),
        ["install", words @ ..] => match install::Options::parse(words) {
            Some(options) => install::run(&options),
            None => {
                eprint!("{HELP}");
                return ExitCode::from(2);
            }
        },
        ["structure"] => structure::check(),
        ["syscalls", tables, headers] => {
            syscalls::generate(tables.as_ref(), headers.as_ref()).map(|text| print!("{text}")).map_err(Into::into)
        }
        #[cfg(feature = "manuals")]
        ["manuals", dir] => manuals::write(std::path::Path::new(dir)),
        ["help" | "--help" | "-h"] | [] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
