//! Man pages and completions, from the command lines themselves.

use crate::Result;
use crate::build::workspace;
use clap::Command;
use clap_complete::Shell;
use std::path::Path;

pub fn write(dir: &Path) -> Result<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    for name in ["man", "bash", "zsh", "fish"] {
        std::fs::create_dir_all(dir.join(name))?;
    }
    let programs =
        [firn::cli::command(), firn_image::cli::command(), firn_shim::cli::command(), firnctl::cli::command()];
    for command in programs {
        clap_mangen::generate_to(command.clone(), dir.join("man"))?;
        completions(command, dir)?;
    }
    // firn-init reads its few options itself.
    std::fs::copy(workspace().join("docs/firn-init.1"), dir.join("man/firn-init.1"))?;
    Ok(())
}

fn completions(mut command: Command, dir: &Path) -> Result<()> {
    let name = command.get_name().to_owned();
    for (shell, directory) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
        clap_complete::generate_to(shell, &mut command, &name, dir.join(directory))?;
    }
    let bash = dir.join("bash");
    // bash-completion finds a file by the command's bare name.
    std::fs::rename(bash.join(format!("{name}.bash")), bash.join(&name))?;
    Ok(())
}
