//! The networks of containers.
//!
//! ```text
//! firnctl ─ Network (one message: links, ports) ─ a file of the bundle
//!                                                  │
//! firn ─ hook createRuntime ─ firn-network up FILE ─┤ pin ─ nft, settings (children) ─ lock down ─ links ─ rules
//!                                                  │ sockets ─▶ firn-network reside (names, loopback ports)
//!      └ hook poststop ────── firn-network down FILE ┘ interfaces back ─ links gone ─ pin gone ─ rules gone
//! ```
//!
//! The library is what both ends share: [`names`] and the [`message`]. The program is all that touches
//! links and nftables.

#![forbid(unsafe_code)]

pub mod message;
pub mod names;
