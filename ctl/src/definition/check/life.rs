//! Times and limits.

use super::report::Container;
use crate::definition::schema::{Definition, Size, Time};
use crate::definition::values;

pub fn check(definition: &Definition, container: &mut Container<'_>) {
    for (option, time) in
        [("timeoutStartSec", &definition.timeout_start_sec), ("timeoutStopSec", &definition.timeout_stop_sec)]
    {
        if let Some(Time::Text(text)) = time {
            container.keep(option, values::time(text));
        }
    }
    let memory = match &definition.memory {
        None => None,
        Some(Size::Bytes(bytes)) => Some(*bytes),
        Some(Size::Text(text)) => container.keep("memory", values::size(text)),
    };
    if memory.is_some_and(|bytes| bytes < 1 << 20) {
        container.tell("memory", "is less than 1M, with which nothing starts");
    }
    if definition.cpus.is_some_and(|cpus| cpus < 0.01) {
        container.tell("cpus", "must be at least 0.01");
    }
    if definition.check.first().is_some_and(String::is_empty) {
        container.tell("check", "must begin with the program to run");
    }
}
