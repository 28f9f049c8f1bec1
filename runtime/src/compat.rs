//! Texts and exit codes that podman, conmon, containerd and scripts match. Changing one breaks
//! a caller.

/// podman exits with 127. Go's exec.ErrNotFound.
pub const NOT_FOUND_IN_PATH: &str = "executable file not found in $PATH";
/// containerd: "not found".
pub const DOES_NOT_EXIST: &str = "container does not exist";
/// containerd: "already exists".
pub const ALREADY_EXISTS: &str = "container with given ID already exists";
/// Prefix of the error for an id with characters that are not allowed, as runc's.
pub const INVALID_ID: &str = "invalid container ID format";
/// containerd: "not found"; podman: already stopped.
pub const NOT_RUNNING: &str = "container not running";
/// Matched by runc's tests.
pub const NO_CGROUP: &str = "unable to apply cgroup configuration";

/// A warning; matched by runc's tests.
pub const NOT_KILLABLE: &str = "Creating a rootless container with no cgroup and no private pid namespace. \
    Such configuration is strongly discouraged, as it is impossible to properly kill all container's processes";

/// The error for a limit where an unprivileged user's container has no cgroup; matched by
/// runc's tests.
pub fn no_cgroup_for(controller: &str) -> String {
    format!("cannot set {controller} limit: container could not join or create cgroup")
}

/// Debug messages when a new process is cloned, sets up, and continues to its program.
/// Matched by runc's tests.
pub const DEBUG_CLONED: &str = "nsexec container setup";
pub const DEBUG_IN_INIT: &str = "child process in init()";
pub const DEBUG_CONTINUES: &str = "init: closing the pipe to signal completion";
pub const DEBUG_EXECS: &str = "setns_init: about to exec";

/// podman probes options by this text: the option is known.
pub fn needs_argument(option: &str) -> String {
    format!("flag needs an argument: {option}\n")
}

/// Printed instead of the help of an unknown command.
pub fn no_help_topic(command: &str) -> String {
    format!("No help topic for '{command}'\n")
}

/// Exit code of `exec` where the program could not be executed.
pub const EXEC_FAILURE: u8 = 255;
/// Exit code for an unknown command, as of runc.
pub const UNKNOWN_COMMAND: u8 = 3;

#[cfg(test)]
mod tests {
    use crate::error::errno_text;
    use rustix::io::Errno;

    /// podman (libpod/oci_util.go) chooses between 126 and 127 by these; containerd (go-runc)
    /// derives "not found" from the others.
    #[test]
    fn callers_find_their_phrases() {
        assert!(super::NOT_FOUND_IN_PATH.contains("executable file not found in"));
        assert_eq!(errno_text(Errno::NOENT), "no such file or directory");
        assert_eq!(errno_text(Errno::ACCESS), "permission denied");
        assert_eq!(errno_text(Errno::PERM), "operation not permitted");
        assert!(super::DOES_NOT_EXIST.contains("does not exist"));
        assert!(super::NOT_RUNNING.contains("container not running"));
        assert_eq!(errno_text(Errno::SRCH), "no such process");
    }
}
