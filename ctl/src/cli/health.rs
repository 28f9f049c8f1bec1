//! The option of verbs that change what runs.

use crate::apply::update::Health;
use crate::definition::values;
use clap::Args;
use std::time::Duration;

/// What a container has to be after an update.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Go back to what ran before if units fail that did not fail before, or the definition's check
    /// does not succeed in this time, as in 60s.
    #[arg(long, value_name = "TIME", value_parser = limit)]
    wait_healthy: Option<Duration>,
}

impl HealthArgs {
    pub fn health(&self) -> Health {
        Health { limit: self.wait_healthy }
    }
}

fn limit(text: &str) -> Result<Duration, String> {
    values::time(text)?.ok_or_else(|| "must end: write a time as in 60s".into())
}
