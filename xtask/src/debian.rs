//! Debian roots, by mmdebstrap.

use crate::Result;
use std::path::Path;
use std::process::Command;

/// Folders of /usr/share that nothing reads in these roots.
pub const LEFT_OUT: [&str; 5] = ["doc", "man", "locale", "i18n", "info"];

/// mmdebstrap, up to what is particular.
pub fn make(suite: &str, packages: &str, root: &Path) -> Command {
    let mut make = Command::new("mmdebstrap");
    make.args(["--mode=root", "--variant=minbase", "--quiet"]).arg(format!("--include={packages}"));
    for left_out in LEFT_OUT {
        make.arg(format!("--dpkgopt=path-exclude=/usr/share/{left_out}/*"));
    }
    // A hook may have put a package's setting there before the package comes.
    make.arg("--dpkgopt=force-confold");
    // A testing release's index may be past its date; its signature still counts.
    make.arg("--aptopt=Acquire::Check-Valid-Until \"false\"").arg(suite).arg(root);
    make
}

/// The option that runs the script on the root when the packages are in it.
pub fn hook(folder: &Path, script: &str) -> Result<String> {
    let file = folder.join("hook.sh");
    std::fs::write(&file, script)?;
    Ok(format!("--customize-hook=sh {} \"$1\"", file.display()))
}
