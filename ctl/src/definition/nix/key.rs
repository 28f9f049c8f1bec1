//! The key with which `cssh` logs in to systems that have `extra.enableSSH`.

use anyhow::{Context, Result, bail};
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Its public half. It is made where there is none yet, with its directory, for root alone.
pub fn public(key: &Path) -> Result<String> {
    let path = key.with_extension("pub");
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make(key)?;
            std::fs::read_to_string(&path)
        }
        result => result,
    };
    Ok(text.with_context(|| format!("read {}", path.display()))?.trim().to_owned())
}

/// In a directory that takes its place when it is whole. Another firnctl may do the same.
fn make(key: &Path) -> Result<()> {
    let directory = key.parent().context("a key has a directory")?;
    let new = directory.with_extension(format!("new-{}", std::process::id()));
    let what = || format!("create directory {}", new.display());
    DirBuilder::new().recursive(true).mode(0o700).create(&new).with_context(what)?;
    let made = keygen(&new.join(key.file_name().context("a key has a name")?)).and_then(|()| {
        match std::fs::rename(&new, directory) {
            Err(error) if !key.exists() => Err(error).with_context(|| format!("make {}", directory.display())),
            _ => Ok(()),
        }
    });
    let _ = std::fs::remove_dir_all(&new);
    made
}

fn keygen(key: &Path) -> Result<()> {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "firnctl cssh", "-f"]).arg(key).stdin(Stdio::null());
    let output = keygen.output().context("extra.enableSSH: run ssh-keygen, of OpenSSH")?;
    if !output.status.success() {
        bail!("extra.enableSSH: ssh-keygen: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
