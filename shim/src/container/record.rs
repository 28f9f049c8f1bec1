//! The record, file `record` in the state directory: all that a monitor must know that takes over from
//! one that was killed. It is replaced whenever it changes, before what follows from the change is done.

use super::attempt::Attempt;
use super::machine::Machine;
use super::{Container, Settings};
use crate::control::protocol::State;
use crate::state::dir::StateDir;
use firn::error::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;

const NAME: &str = "record";

/// What a monitor writes, from its own values, and the next one reads.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record<S = Settings, M = Machine, A = Attempt> {
    /// Of the host; nothing of a container outlives the boot that it was started in.
    pub(super) boot: String,
    pub(super) settings: S,
    pub(super) machine: M,
    pub(super) attempt: A,
    pub(super) starts: u32,
    pub(super) terminal: bool,
    /// The service manager holds what outlives the monitor, and not the keeper.
    pub(super) stored: bool,
}

/// Reads the record; `None` if there is none, or only a piece, as after a power failure.
pub(super) fn read(dir: &StateDir) -> Result<Option<Record>> {
    let path = dir.file(NAME);
    let operation = || format!("read {}", path.display());
    match fs::read(&path) {
        Ok(text) => match serde_json::from_slice(&text) {
            Err(error) if error.is_eof() || error.is_syntax() => Ok(None),
            record => record.doing(operation).map(Some),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).doing(operation),
    }
}

impl Container {
    /// Writes the record, if it is another than the last one. The last state, in which the outcome is
    /// known, is not recorded: another monitor comes to it again.
    pub(super) fn save(&mut self) {
        if self.machine.state() == State::Done {
            return;
        }
        let record = Record {
            boot: self.boot.clone(),
            settings: &self.settings,
            machine: &self.machine,
            attempt: &self.attempt,
            starts: self.starts,
            terminal: self.terminal,
            stored: self.holding.is_stored(),
        };
        let written = serde_json::to_vec(&record).map_err(io::Error::from).and_then(|text| {
            if text == self.saved {
                return Ok(());
            }
            let (path, temporary) = (self.dir.file(NAME), self.dir.file("record.tmp"));
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&text)?;
            fs::rename(temporary, path)?;
            self.saved = text;
            Ok(())
        });
        if let (Err(error), false) = (written, std::mem::replace(&mut self.save_failed, true)) {
            self.print_message(&format!("warning: write the record, no other monitor could take over: {error}"));
        }
    }
}
