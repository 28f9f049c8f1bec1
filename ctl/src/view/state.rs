//! What a container does now, as people and scripts are told.

use crate::apply::change;
use crate::apply::end::Ended;
use crate::difference::{self, Change};
use crate::generation::Container;
use anyhow::Result;
use firn_shim::control::protocol::{Request, State, Status};
use serde_json::{Value, json};

/// What is known of an installed container.
#[derive(Debug)]
pub struct Seen {
    pub name: String,
    /// Of its monitor, if it runs.
    pub status: Option<Box<Status>>,
    /// How it ended last, if that is known.
    pub ended: Option<Ended>,
    /// What has been installed since it was started.
    pub pending: Option<Change>,
    /// What runs, or ran last.
    pub generation: Option<u32>,
    /// The file of its definition.
    pub project: Option<String>,
    /// Why the rest can't be told.
    pub broken: Option<String>,
}

impl Seen {
    /// What can be known, also where a record can't be read.
    pub fn look(container: &Container) -> Self {
        let broken = |error: anyhow::Error| Seen {
            name: container.name.clone(),
            status: None,
            ended: None,
            pending: None,
            generation: None,
            project: None,
            broken: Some(format!("{error:#}")),
        };
        Self::query(container).unwrap_or_else(broken)
    }

    fn query(container: &Container) -> Result<Self> {
        let status = match container.connect()? {
            // A monitor that is just ending closes the connection.
            Some(mut monitor) => monitor.call(Request::Status).ok().and_then(|(reply, _)| reply.status),
            None => None,
        };
        let wanted = container.wanted()?;
        let pending = match (&status, &wanted) {
            (Some(_), Some(wanted)) => change::pending(container, &wanted.definition),
            _ => None,
        };
        let ended = if status.is_none() { Ended::read(container) } else { None };
        let project = wanted.and_then(|wanted| Some(wanted.origin.file?.display().to_string()));
        let generation = match container.running()? {
            Some(running) => Some(running.generation),
            // What ran before the host's last boot.
            None => container.history().list()?.last().map(|last| last.number),
        };
        Ok(Seen { name: container.name.clone(), status, ended, pending, generation, project, broken: None })
    }

    /// `up`, `down`, or the state between.
    pub fn word(&self) -> &'static str {
        match (&self.broken, &self.status) {
            (Some(_), _) => "broken",
            (None, Some(status)) if status.state == State::Running => "up",
            (None, Some(status)) => status.state.name(),
            (None, None) => "down",
        }
    }

    /// The word; with the reason where it went down by itself and not cleanly.
    pub fn state(&self) -> String {
        match &self.ended {
            Some(Ended { reason, status: Some(status), .. }) if reason == "failed" => format!("down (status {status})"),
            Some(end) if !["stopped", "exited"].contains(&&*end.reason) => format!("down ({})", end.reason),
            _ => self.word().into(),
        }
    }

    /// Since when it is so.
    pub fn since(&self) -> Option<&str> {
        match &self.status {
            Some(status) => Some(status.ready_at.as_deref().unwrap_or(&status.started_at)),
            None => self.ended.as_ref()?.exited_at.as_deref(),
        }
    }

    pub fn json(&self) -> Value {
        json!({
            "name": self.name,
            "state": self.word(),
            "error": self.broken,
            "reason": self.ended.as_ref().map(|end| &end.reason),
            "since": self.since(),
            "pid": self.status.as_ref().and_then(|status| status.pid),
            "statusText": self.status.as_ref().and_then(|status| status.status_text.clone()),
            "restarts": self.status.as_ref().map(|status| status.restarts),
            "exit": self.ended.as_ref().and_then(|end| end.exit_code),
            "generation": self.generation,
            "pending": self.pending.as_ref().map(difference::Change::word),
            "project": self.project,
        })
    }
}
