//! Start of every firn program.

use crate::sys;

/// Resets signals, whatever the caller left (signal(7): dispositions "ignored" and the mask are
/// inherited): SIGCHLD default, SIGPIPE ignored, no signal blocked.
pub fn reset_signals() {
    sys::signal::reset_at_start();
}
