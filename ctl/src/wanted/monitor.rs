//! The arguments of `firn-shim run`.

use crate::definition::schema::{Definition, Restart, Time};
use crate::definition::values;
use crate::generation::Container;
use std::ffi::OsString;
use std::time::Duration;

/// systemd's own, of NixOS's units.
const TIMEOUT_START: Duration = Duration::from_secs(60);
const TIMEOUT_STOP: Duration = Duration::from_secs(90);

/// Everything after `firn-shim`.
pub fn arguments(container: &Container, definition: &Definition) -> Vec<OsString> {
    with(&["--client-on-stdin"], container, definition)
}

/// The same for the unit, whose first start is looked at by nobody else.
pub fn of_unit(container: &Container, definition: &Definition) -> Vec<OsString> {
    with(&["--client-on-stdin", "--fail-first-start"], container, definition)
}

/// The same where a monitor was killed.
pub fn of_unit_that_adopts(container: &Container, definition: &Definition) -> Vec<OsString> {
    with(&["--adopt", "--fail-first-start"], container, definition)
}

fn with(more: &[&str], container: &Container, definition: &Definition) -> Vec<OsString> {
    let restart = match definition.restart {
        Restart::No => "no",
        Restart::OnFailure => "on-failure",
        Restart::Always => "always",
    };
    let mut arguments: Vec<OsString> = ["run"].iter().chain(more).map(OsString::from).collect();
    let mut option = |name: &str, value: OsString| arguments.extend([OsString::from(name), value]);
    option("--id", container.name.clone().into());
    option("--runtime", crate::host::program("firn").into());
    option("--state-dir", container.places().monitors().into());
    if let Some(root) = container.places().runtime_root() {
        option("--runtime-root", root.into());
    }
    option("--log", container.log().into());
    option("--restart", restart.into());
    option("--timeout-start", seconds(definition.timeout_start_sec.as_ref(), TIMEOUT_START));
    option("--timeout-stop", seconds(definition.timeout_stop_sec.as_ref(), TIMEOUT_STOP));
    arguments.push(container.bundle().into());
    arguments
}

/// The stop timeout in whole seconds; 0 is none.
pub fn stop_timeout(definition: &Definition) -> u32 {
    whole_seconds(definition.timeout_stop_sec.as_ref(), TIMEOUT_STOP)
}

fn seconds(time: Option<&Time>, default: Duration) -> OsString {
    whole_seconds(time, default).to_string().into()
}

/// In systemd.time(7) 0 is no limit too where it is one of a unit's timeouts.
fn whole_seconds(time: Option<&Time>, default: Duration) -> u32 {
    let limit = match time {
        None => Some(default),
        Some(Time::Seconds(seconds)) => Some(Duration::from_secs((*seconds).into())),
        Some(Time::Text(text)) => values::time(text).unwrap_or(Some(default)),
    };
    limit.map_or(0, |limit| u32::try_from(limit.as_millis().div_ceil(1000)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_seconds_and_none_is_0() {
        for (text, expected) in [("1min 30s", 90), ("500ms", 1), ("infinity", 0), ("0", 0)] {
            assert_eq!(whole_seconds(Some(&Time::Text(text.into())), TIMEOUT_START), expected, "{text}");
        }
        assert_eq!(whole_seconds(None, TIMEOUT_STOP), 90);
    }
}
