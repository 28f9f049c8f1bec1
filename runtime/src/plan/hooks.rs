//! Validates the hooks of the config.

use crate::bail;
use crate::error::Result;
use crate::spec::hooks::{Hook, Hooks};

/// Errors: a relative path; a timeout that is not positive.
pub fn plan(hooks: Hooks) -> Result<Hooks> {
    let all: [(&str, &Vec<Hook>); 6] = [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ];
    for (kind, list) in all {
        for hook in list {
            if !hook.path.starts_with('/') {
                bail!("hooks.{kind}: path {:?} must be absolute", hook.path);
            }
            if hook.timeout.is_some_and(|seconds| seconds <= 0) {
                bail!("hooks.{kind}: the timeout of {} must be greater than zero", hook.path);
            }
        }
    }
    Ok(hooks)
}
