//! nft(8), a child: started before this process is locked down, and given its one transaction after.

use anyhow::{Context, Result, bail};
use nftables::schema::Nftables;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use serde_json::Value;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};

/// All rules as nft writes them, with their handles.
pub fn list_as_text() -> Result<String> {
    let output = Command::new("nft").args(["-a", "list", "ruleset"]).output().context("run nft")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

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

/// Whether there is a chain of family ip, or ip6: NFT_MSG_GETCHAIN (linux/netfilter/nf_tables.h), since a run of
/// nft takes milliseconds.
pub fn has_chain(is_v6: bool, table: &str, chain: &str) -> Result<bool> {
    const GET_CHAIN: u16 = 10 << 8 | 4;
    const NLM_F_REQUEST: u16 = 1;
    const NLMSG_ERROR: u16 = 2;
    let attribute = |kind: u16, text: &str| {
        let length = u16::try_from(4 + text.len() + 1).unwrap_or(u16::MAX);
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), text.as_bytes(), &[0]].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let family = if is_v6 { libc::NFPROTO_IPV6 } else { libc::NFPROTO_IPV4 };
    let family = u8::try_from(family).context("a family")?;
    // NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME.
    let body = [&[family, 0, 0, 0][..], &attribute(1, table), &attribute(3, chain)].concat();
    let length = u32::try_from(16 + body.len()).context("a message")?;
    let header = [&length.to_ne_bytes()[..], &GET_CHAIN.to_ne_bytes(), &NLM_F_REQUEST.to_ne_bytes(), &[0; 8]].concat();
    let ask = || {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter)?;
        send(socket.as_raw_fd(), &[header, body].concat(), MsgFlags::empty())?;
        let mut answer = [0; 4096];
        let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        Ok::<_, Errno>(answer[..length].to_vec())
    };
    let answer = ask().context("ask for a chain")?;
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    Ok(kind.is_some_and(|kind| kind != NLMSG_ERROR))
}
