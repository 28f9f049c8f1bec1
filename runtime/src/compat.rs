//! Words and numbers that podman, conmon, containerd and scripts look for in a
//! runtime's answers. Changing one breaks a caller somewhere.

/// podman: 127. Go's own words, exec.ErrNotFound.
pub const NOT_FOUND_IN_PATH: &str = "executable file not found in $PATH";
/// containerd: not found.
pub const DOES_NOT_EXIST: &str = "container does not exist";
pub const ALREADY_EXISTS: &str = "container with given ID already exists";
pub const INVALID_ID: &str = "invalid container ID format";
/// containerd: not found; podman: already stopped.
pub const NOT_RUNNING: &str = "container not running";
/// runc's own words, for which its tests look.
pub const NO_CGROUP: &str = "unable to apply cgroup configuration";

/// runc's own words, for which its tests look.
pub const NO_WAY_TO_KILL: &str = "Creating a rootless container with no cgroup and no private pid namespace. \
    Such configuration is strongly discouraged, as it is impossible to properly kill all container's processes";

/// A limit that an ordinary user's container has no cgroup for. runc's own words, for
/// which its tests look.
pub fn no_cgroup_for(controller: &str) -> String {
    format!("cannot set {controller} limit: container could not join or create cgroup")
}

/// What --debug says when a new process is cloned, when it does its part, and when
/// it goes on to its program. runc's own words: its tests look for them.
pub const CLONED: &str = "nsexec container setup";
pub const IN_INIT: &str = "child process in init()";
pub const GOES_ON: &str = "init: closing the pipe to signal completion";
pub const EXECS: &str = "setns_init: about to exec";

/// podman: this runtime has the option.
pub fn needs_argument(option: &str) -> String {
    format!("flag needs an argument: {option}\n")
}

/// In place of an unknown command's help.
pub fn no_help_topic(command: &str) -> String {
    format!("No help topic for '{command}'\n")
}

/// `exec` that could not run its program.
pub const EXEC_FAILURE: u8 = 255;
pub const UNKNOWN_COMMAND: u8 = 3;

#[cfg(test)]
mod tests {
    use crate::error::errno_text;
    use rustix::io::Errno;

    /// podman (libpod/oci_util.go) decides between 126 and 127 by these, and
    /// containerd (go-runc) takes the others for "not found".
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
