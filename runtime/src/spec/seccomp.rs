//! `linux.seccomp` of config.json. Names stay strings: the compiler decides which unknown ones
//! are errors and which are warnings.

use super::null::nullable;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Seccomp {
    /// Such as `SCMP_ACT_ERRNO`.
    pub default_action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    /// Such as `SCMP_ARCH_X86_64`; the native one is always added.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<String>,
    /// Such as `SECCOMP_FILTER_FLAG_LOG`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags: Option<Vec<String>>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub listener_path: String,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub listener_metadata: String,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub syscalls: Vec<Rule>,
}

/// The action for system calls if all of `args` match.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    #[serde(deserialize_with = "nullable")]
    pub names: Vec<String>,
    pub action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Argument>,
}

/// A condition on one argument (0 to 5) of the system call.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Argument {
    pub index: u32,
    pub value: u64,
    /// The second operand of SCMP_CMP_MASKED_EQ.
    #[serde(deserialize_with = "nullable")]
    pub value_two: u64,
    /// Such as `SCMP_CMP_EQ`.
    pub op: String,
}
