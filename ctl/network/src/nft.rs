//! nft(8), a child: started before this process is locked down, and given its one transaction after.

use anyhow::{Context, Result, bail};
use nftables::schema::Nftables;
use serde_json::Value;
use std::io::Write;
use std::process::{Child, Command, Stdio};

/// What there is: what `nft -j list` prints for these words.
pub fn list(what: &[&str]) -> Result<Value> {
    let output = Command::new("nft").args(["-j", "list"]).args(what).output().context("run nft")?;
    if !output.status.success() {
        bail!("nft list {}: {}", what.join(" "), first_line(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("read what nft lists")
}

fn first_line(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    said.lines().next().unwrap_or("has failed").trim().to_owned()
}

/// An nft that waits for its commands.
#[derive(Debug)]
pub struct Nft(Child);

impl Nft {
    pub fn start() -> Result<Self> {
        let mut command = Command::new("nft");
        command.args(["-j", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().context("run nft (of the package nftables), which rules need")?;
        Ok(Nft(child))
    }

    /// All of it is done, or nothing.
    pub fn commit(mut self, commands: &Nftables<'_>) -> Result<()> {
        let text = serde_json::to_vec(commands).context("write JSON")?;
        if let Some(mut stdin) = self.0.stdin.take() {
            // One that ends says why.
            let _ = stdin.write_all(&text);
        }
        let output = self.0.wait_with_output().context("wait for nft")?;
        if !output.status.success() {
            bail!("nft: {}", first_line(&output.stderr));
        }
        Ok(())
    }
}
