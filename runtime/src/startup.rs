//! What a program of ours does before anything else.

use crate::sys;

/// Takes the signal dispositions and the mask that every program of ours expects, whatever
/// the caller left: SIGCHLD has its default, SIGPIPE is ignored, no signal is blocked.
pub fn reset_signals() {
    sys::signal::reset_at_start();
}
