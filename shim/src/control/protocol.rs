//! The messages on the control socket: JSON, one in each packet (SOCK_SEQPACKET).
//!
//! A client sends requests, and gets a [`Message::Reply`] for each, in order. One that subscribes gets
//! [`Message::Event`]s as well, between the replies. What newer versions add are requests and fields:
//! both ends ignore fields that they don't know, and a monitor refuses what it can't do by an error.

use serde::{Deserialize, Serialize};

/// The version of the protocol. It is raised only when a message changes its meaning.
pub const VERSION: u32 = 1;
/// Bytes of a message at most.
pub const MESSAGE_LIMIT: usize = 16 << 10;
/// The socket's name in the state directory of a container.
pub const SOCKET: &str = "control";

/// A request with the version in which the client speaks.
#[derive(Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// [`VERSION`].
    pub version: u32,
    /// What is requested.
    pub request: Request,
}

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Request {
    /// The status is in the reply.
    Status,
    /// Stop it, as SIGTERM to the monitor does. The reply comes at once.
    Stop {
        /// Seconds from the stop signal to SIGKILL, in the place of `--timeout-stop`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout: Option<u32>,
    },
    /// Kill all processes at once, and don't restart it.
    Kill,
    /// Send a signal to init.
    Signal {
        /// Its number, 1 to 64.
        number: i32,
    },
    /// Stop it and start it again, as SIGHUP to the monitor does.
    Restart,
    /// Open the log's files anew, after another program has moved them.
    ReopenLogs,
    /// Events from now on; the status is in the reply.
    Subscribe,
    /// [`Event::Happened`] from now on, for each thing that happens; the status is in the reply.
    Watch,
    /// The container's output from now on: the reply comes with a socket for each of its `streams`, by
    /// SCM_RIGHTS. It lasts as long as the connection.
    Attach {
        /// Also write to its input.
        #[serde(default)]
        input: bool,
    },
    /// Run a further process in it. The reply comes when it runs, with its streams: descriptors of
    /// pipes, or of its terminal. The client is told how it ends by [`Event::ExecEnded`].
    Exec(ExecProcess),
    /// Set the size of its terminal.
    Resize {
        /// In characters.
        rows: u16,
        /// In characters.
        columns: u16,
    },
}

/// A process to run in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecProcess {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=VALUE`, beside the variables of the container's config.
    pub env: Vec<String>,
    /// Its working directory; that of the config if `None`.
    pub cwd: Option<String>,
    /// `UID[:GID]`, as the runtime's `exec --user` takes it; the config's if `None`.
    pub user: Option<String>,
    /// Supplementary groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<u32>,
    /// It gets a terminal, else pipes.
    pub terminal: bool,
    /// Of its terminal, when the process begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<TerminalSize>,
    /// Its stdin is a pipe, else /dev/null. A terminal always has an input.
    pub input: bool,
}

/// In characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    pub rows: u16,
    pub columns: u16,
}

/// What the monitor sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Message {
    /// To a request.
    Reply(Reply),
    /// To a subscriber.
    Event(Event),
}

/// The reply to a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reply {
    /// Why nothing was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Of `Status` and `Subscribe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Box<Status>>,
    /// Of `Exec`: the number of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<u32>,
    /// Of `Attach` and `Exec`: which streams the descriptors are, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<AttachedStream>,
    /// Of `Attach`: the container has a terminal. Of `Exec`: the process has one.
    #[serde(default)]
    pub terminal: bool,
}

/// A stream of an attached client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AttachedStream {
    /// What the client types. A shutdown(2) of it ends the container's input, where that is a pipe.
    Input,
    /// The container's stdout, or its terminal.
    Stdout,
    /// The container's stderr.
    Stderr,
}

/// What has happened to the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// It has another state or status text.
    Status(Box<Status>),
    /// A process that this client has asked for has ended. Neither a status nor a signal: how is not
    /// known.
    ExecEnded {
        /// The number in the reply.
        exec: u32,
        /// Its exit status.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u8>,
        /// The signal that ended it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
    },
    /// Something has happened, to a client that watches.
    Happened(Happened),
    /// It has ended, and the monitor ends. The exit record is written.
    Ended {
        /// The monitor's own exit code.
        code: u8,
    },
}

/// Something that has happened to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happened {
    /// RFC 3339, UTC.
    pub time: String,
    /// What it was.
    #[serde(flatten)]
    pub what: Happening,
}

/// What can happen to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Happening {
    /// It is being started: the runtime creates it.
    Start,
    /// Its init has begun.
    Init {
        /// On the host.
        #[serde(skip_serializing_if = "Option::is_none")]
        pid: Option<i32>,
    },
    /// It is ready.
    Ready,
    /// It has got the stop signal.
    Stopping,
    /// All its processes have got SIGKILL.
    Kill,
    /// Init has ended. Neither a status nor a signal: how is not known.
    Exit {
        /// Its exit status.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<u8>,
        /// The signal that ended it.
        #[serde(skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
        /// The OOM killer has killed in its cgroup.
        oom_killed: bool,
    },
    /// It is started again after a pause.
    Restart {
        /// Why it had ended, as in the exit record.
        reason: String,
        /// Of the pause.
        milliseconds: u64,
    },
    /// A process that a client has asked for runs in it.
    Exec {
        /// Its number.
        exec: u32,
        /// On the host.
        #[serde(skip_serializing_if = "Option::is_none")]
        pid: Option<i32>,
        /// The program and its arguments.
        args: Vec<String>,
    },
    /// That process has ended.
    ExecExit {
        /// Its number.
        exec: u32,
        /// Its exit status.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<u8>,
        /// The signal that ended it.
        #[serde(skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
    },
    /// It has ended, and its monitor ends.
    Down {
        /// Why, as in the exit record.
        reason: String,
        /// The monitor's exit code.
        code: u8,
    },
}

/// What is known of a container. Times are RFC 3339, UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Its name.
    pub id: String,
    /// What it does now.
    pub state: State,
    /// Of the monitor.
    pub monitor_pid: u32,
    /// Of init, if it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// The bundle.
    pub bundle: String,
    /// When the last start began.
    pub started_at: String,
    /// When the runtime had created it, with its network and its root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// When its init had begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_at: Option<String>,
    /// When it was ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<String>,
    /// Its last STATUS= (sd_notify(3)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_text: Option<String>,
    /// In this run of the monitor.
    pub restarts: u32,
    /// The file to which its output goes, if it goes to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// The states of a container, of which docs/shim.md has a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The runtime makes it.
    Creating,
    /// The runtime starts it.
    Starting,
    /// It runs, and is not ready yet.
    Booting,
    /// It runs and is ready.
    Running,
    /// It has got the stop signal.
    Stopping,
    /// It has got SIGKILL.
    Killed,
    /// Init has ended, and the runtime deletes the container.
    Exited,
    /// It is started again after a pause.
    Restarting,
    /// It has ended.
    Done,
}

impl State {
    /// Its name, as in messages.
    pub fn name(self) -> &'static str {
        match self {
            State::Creating => "creating",
            State::Starting => "starting",
            State::Booting => "booting",
            State::Running => "running",
            State::Stopping => "stopping",
            State::Killed => "killed",
            State::Exited => "exited",
            State::Restarting => "restarting",
            State::Done => "done",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json, to_value};

    #[test]
    fn requests_are_what_they_look_like() {
        for (request, text) in [
            (Request::Status, json!("status")),
            (Request::Stop { timeout: Some(5) }, json!({"stop": {"timeout": 5}})),
            (Request::Stop { timeout: None }, json!({"stop": {}})),
            (Request::Signal { number: 10 }, json!({"signal": {"number": 10}})),
            (Request::Attach { input: true }, json!({"attach": {"input": true}})),
            (
                Request::Exec(ExecProcess { args: vec!["ls".into()], ..ExecProcess::default() }),
                json!({"exec": {"args": ["ls"], "env": [], "cwd": null, "user": null, "terminal": false, "input": false}}),
            ),
            (Request::Resize { rows: 24, columns: 80 }, json!({"resize": {"rows": 24, "columns": 80}})),
        ] {
            assert_eq!(to_value(&request).unwrap(), text);
            assert_eq!(from_value::<Request>(text).unwrap(), request);
        }
        let newer = json!({"version": 1, "request": {"stop": {"timeout": 1, "gently": true}}, "more": []});
        assert!(from_value::<Envelope>(newer).is_ok());
    }

    #[test]
    fn names_of_states_are_those_of_messages() {
        for state in [State::Creating, State::Booting, State::Done, State::Restarting, State::Killed] {
            assert_eq!(to_value(state).unwrap(), Value::from(state.name()));
        }
    }
}
