//! `firn state`.

use super::{Context, print};
use crate::error::{Context as _, Result};
use crate::state::{Record, StateDir, Status};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(value_name = "ID")]
    id: String,
}

/// runtime.md "State", with runc's additions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    pub oci_version: String,
    pub id: String,
    pub pid: i32,
    pub status: &'static str,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    pub created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    pub owner: String,
}

impl State {
    pub fn of(dir: &StateDir, record: Record) -> Self {
        let status = Status::of(dir, &record);
        State {
            pid: if status == Status::Stopped { 0 } else { record.pid },
            status: status.name(),
            owner: if record.owner == 0 { "root".into() } else { record.owner.to_string() },
            oci_version: record.oci_version,
            id: record.id,
            bundle: record.bundle,
            rootfs: record.rootfs,
            created: record.created,
            annotations: record.annotations,
        }
    }
}

pub fn run(args: &Args, context: &Context) -> Result<u8> {
    let dir = StateDir::look(&context.root, &args.id)?;
    let state = State::of(&dir, Record::need(&dir)?);
    let text = serde_json::to_string_pretty(&state).doing(|| "write the state")?;
    print(&(text + "\n"))?;
    Ok(0)
}
