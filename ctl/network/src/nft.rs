//! nft(8), a child: started before this process is locked down, and given its one transaction after.

use anyhow::{Context, Result, bail};
use nftables::schema::Nftables;
use std::io::Write;
use std::process::{Child, Command, Stdio};

/// An nft that waits for its commands.
#[derive(Debug)]
pub struct Nft(Child);

impl Nft {
    pub fn start() -> Result<Self> {
        let mut command = Command::new("nft");
        command.args(["-j", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().context("run nft (of the package nftables), which forwarded ports need")?;
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
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("nft: {}", said.lines().next().unwrap_or("has failed").trim());
        }
        Ok(())
    }
}
