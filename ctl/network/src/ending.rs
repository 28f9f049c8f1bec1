//! The end of a network: interfaces go back, links and rules go. One step that fails keeps none of the others.

use crate::links::{index, is_gone, move_to, os_error, plain, remove_stale};
use crate::nft::Nft;
use crate::record::{self, Moved};
use crate::rules;
use anyhow::{Context, Result, anyhow, bail};
use firn_network::message::Network;
use futures_util::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::link::{LinkAttribute, Prop};
use std::os::fd::{AsRawFd, BorrowedFd};

/// The name of an interface whose own is taken on the host; the kernel gives a number.
const OTHER_NAME: &str = "firn%d";

/// A namespace that is kept, and the host's.
pub struct Ending<'a> {
    pub host: Handle,
    pub inside: Handle,
    pub host_namespace: BorrowedFd<'a>,
}

impl Ending<'_> {
    /// Gives interfaces back under their old names, and removes the links that were made for the container.
    pub async fn empty(&self, network: &Network, moved: &[Moved]) -> Vec<anyhow::Error> {
        let mut errors = Vec::new();
        for interface in moved {
            let done = match (interface.is_made, interface.index) {
                (true, Some(index)) => delete(&self.inside, index).await,
                _ => self.give_back(interface).await,
            };
            errors.extend(done.with_context(|| format!("take interface {} back", interface.name)).err());
        }
        for veth in &network.veths {
            let removed = remove_stale(&self.host, &network.container, &veth.host.name).await;
            errors.extend(removed.with_context(|| format!("remove link {}", veth.host.name)).err());
        }
        errors
    }

    async fn give_back(&self, interface: &Moved) -> Result<()> {
        let there = match interface.index {
            Some(index) => Some(index),
            None => index(&self.inside, &interface.name).await?,
        };
        let Some(there) = there else { return Ok(()) };
        let namespace = self.host_namespace.as_raw_fd();
        let mut moved = move_to(&self.inside, there, namespace, Some(&interface.name)).await;
        if moved.as_ref().is_err_and(|error| os_error(error) == Some(libc::EEXIST)) {
            // Root of the container may have given it another name of the host's.
            self.remove_alternative_names(there).await?;
            moved = move_to(&self.inside, there, namespace, Some(&interface.name)).await;
        }
        match moved {
            // Root of the container has deleted it.
            Err(error) if os_error(&error) == Some(libc::ENODEV) => Ok(()),
            Err(error) if os_error(&error) == Some(libc::EEXIST) => {
                move_to(&self.inside, there, namespace, Some(OTHER_NAME)).await?;
                bail!(
                    "the host has another one of this name now: it is {} with a number",
                    OTHER_NAME.trim_end_matches("%d")
                )
            }
            result => result,
        }
    }

    async fn remove_alternative_names(&self, index: u32) -> Result<()> {
        let link = self.inside.link().get().match_index(index).execute().try_next().await.map_err(plain)?;
        let mut names = Vec::new();
        for attribute in link.into_iter().flat_map(|link| link.attributes) {
            if let LinkAttribute::PropList(props) = attribute {
                names.extend(props.into_iter().filter_map(|prop| match prop {
                    Prop::AltIfName(name) => Some(name),
                    _ => None,
                }));
            }
        }
        for name in names {
            self.inside.link().property_del(index).alt_ifname(&[&name]).execute().await.map_err(plain)?;
        }
        Ok(())
    }
}

async fn delete(handle: &Handle, index: u32) -> Result<()> {
    match handle.link().del(index).execute().await {
        Err(error) if !is_gone(&error) => Err(plain(error)),
        _ => Ok(()),
    }
}

/// Removes the rules that were made for the container; with the last of them the table.
pub fn remove_rules(network: &Network) -> Result<()> {
    let Some(networks) = record::rules(&network.pin)? else { return Ok(()) };
    let is_last = record::is_last(&network.pin);
    if is_last || !networks.is_empty() {
        Nft::start()?.commit(&rules::removed(&network.table, &networks, is_last)).context("remove the rules")?;
    }
    record::forget_rules(&network.pin)
}

/// The errors as one.
pub fn joined(errors: Vec<anyhow::Error>) -> Result<()> {
    let texts: Vec<String> = errors.iter().map(|error| format!("{error:#}")).collect();
    if texts.is_empty() { Ok(()) } else { Err(anyhow!(texts.join("; "))) }
}
