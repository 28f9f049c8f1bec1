//! `firn-shim attach NAME`: the container's output here, and what is typed there.

use super::control::Target;
use super::session::{End, Session};
use crate::control::protocol::{Event, Request};
use clap::Args;
use firn::error::Result;

/// The options of `attach`.
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    #[command(flatten)]
    target: Target,
    /// Only look: nothing is typed into it
    #[arg(long)]
    no_stdin: bool,
}

/// Attaches until the container ends, whose exit code is returned, or until the user detaches.
pub(super) fn run(options: &Options) -> Result<u8> {
    let mut client = options.target.connect()?;
    client.call(Request::Subscribe)?;
    let (reply, sockets) = client.call(Request::Attach { input: !options.no_stdin })?;
    let mut session = Session::begin(&reply, sockets, &mut client)?;
    let ended = session.relay(&mut client, |event| match event {
        Event::Ended { code } => Some(*code),
        _ => None,
    })?;
    Ok(match ended {
        End::Exit(code) => code,
        End::Detached => 0,
    })
}
