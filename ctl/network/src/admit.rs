//! `firn-network admit CONTAINER ADDRESS…`: lets what comes from the host through a container's firewall
//! (`extra.firewallAllowHost`), which the container's own programs make, at any time. A process in the container's
//! network namespace, which waits for changes of its rules and ends with the container's init. Of the
//! capabilities it has CAP_NET_ADMIN alone.

use crate::lockdown;
use crate::nft::{self, Nft};
use crate::resident::close_inherited;
use crate::rules::inside;
use anyhow::{Context, Result};
use firn_network::message::Network;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open, setsid};
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// NFNLGRP_NFTABLES (linux/netfilter/nfnetlink.h), as a mask: changes of rules.
const CHANGES: u32 = 1 << (7 - 1);
/// After a change others are likely to follow: a firewall is made in many steps.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Starts the process for a container's init, in its network namespace.
pub fn start(network: &Network, init: u32, namespace: &File, host: &File) -> Result<()> {
    let what = "run firn-network admit";
    let pid = i32::try_from(init).ok().and_then(Pid::from_raw).context("the pid of init")?;
    let init = pidfd_open(pid, PidfdFlags::empty()).context("pidfd_open")?;
    let mut own = Command::new("/proc/self/exe");
    own.arg0("firn-network").arg("admit").arg(&network.container);
    own.args(network.admits.iter().map(IpAddr::to_string));
    own.stdin(Stdio::from(init)).stdout(Stdio::null()).stderr(Stdio::null());
    crate::in_namespace(namespace, host, || own.spawn())?.context(what)?;
    Ok(())
}

/// The process; a pidfd of init is its stdin.
pub fn admit(addresses: &[&str]) -> Result<()> {
    close_inherited()?;
    let addresses: Vec<IpAddr> =
        addresses.iter().map(|text| text.parse()).collect::<Result<_, _>>().context("an address")?;
    let init = io::stdin().as_fd().try_clone_to_owned().context("take the pidfd from stdin")?;
    let _ = setsid();
    std::env::set_current_dir("/").context("change to /")?;
    let changes = changes()?;
    lockdown::keep_net_admin()?;
    loop {
        // Chains come and go meanwhile; the next change is told.
        let _ = let_through(&addresses);
        wait(&init, Some(&changes), None)?;
        if wait(&init, None, Some(&PAUSE))? {
            return Ok(());
        }
        drain(&changes);
    }
}

fn changes() -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let changes = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter)
        .context("open a netlink socket")?;
    bind(changes.as_raw_fd(), &NetlinkAddr::new(0, CHANGES)).context("wait for changes of rules")?;
    Ok(changes)
}

/// Until init has ended, or there are changes, or the time is over; whether init has ended.
fn wait(init: &OwnedFd, changes: Option<&OwnedFd>, timeout: Option<&Timespec>) -> Result<bool> {
    let fds = std::iter::once(init).chain(changes);
    let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    rustix::io::retry_on_intr(|| poll(&mut fds, timeout)).context("poll")?;
    Ok(fds.first().is_some_and(|init| !init.revents().is_empty()))
}

/// What they are does not matter: all is looked at anew.
fn drain(changes: &OwnedFd) {
    let mut message = [0; 8192];
    while matches!(
        recv(changes.as_raw_fd(), &mut message, MsgFlags::empty()),
        Ok(_) | Err(nix::errno::Errno::ENOBUFS | nix::errno::Errno::EINTR)
    ) {}
}

fn let_through(addresses: &[IpAddr]) -> Result<()> {
    for chain in inside::input_chains(&nft::list(&["chains"])?) {
        let listed = nft::list(&["chain", &chain.family, &chain.table, &chain.name])?;
        if let Some(commands) = inside::admitting(&chain, addresses, &listed) {
            Nft::start()?.commit(&commands)?;
        }
    }
    Ok(())
}
