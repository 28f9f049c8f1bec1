//! From `linux.seccomp` to a program of classic BPF.

use crate::bail;
use crate::error::Result;
use crate::log::Log;
use crate::spec::seccomp::Seccomp;
use crate::sys::seccomp::Instruction;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub program: Vec<Instruction>,
    /// SECCOMP_FILTER_FLAG_*
    pub flags: u32,
}

pub fn compile(_spec: &Seccomp, _log: &Log) -> Result<Filter> {
    bail!("not yet")
}

pub fn features() -> serde_json::Value {
    serde_json::json!({})
}
