//! What the runtime believes of what its init says. A process that is seen in somebody
//! else's pid namespace may be made to speak by its tracer. Here the test speaks
//! for init, by a descriptor of its channel, while a hook keeps the runtime from reading.

use firn_conformance::harness::{Bundle, Runtime, Scratch, wait_until};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use serde_json::{Value, json};
use std::fs::File;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A `create` whose createRuntime hook waits for `go`.
struct Held {
    create: Child,
    errors: PathBuf,
    go: PathBuf,
    calls: PathBuf,
    init: i32,
}

impl Held {
    fn create(scratch: &Scratch, firn: &Runtime, bundle: Bundle) -> Self {
        let [go, calls, errors] = ["go", "calls", "errors"].map(|name| scratch.join(name));
        let script = format!("cat >> {}; until [ -e {} ]; do sleep 0.01; done", calls.display(), go.display());
        let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
        let bundle = bundle.set("/hooks", json!({"createRuntime": hook})).write();
        let mut line = firn.command(&["create", "--bundle"]);
        line.arg(&bundle.path).arg(firn.id()).stdin(Stdio::null()).stdout(Stdio::null());
        let create = line.stderr(File::create(&errors).unwrap()).spawn().unwrap();
        let mut state = Value::Null;
        wait_until("the hook runs", || {
            state = std::fs::read_to_string(&calls)
                .ok()
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_default();
            state.is_object()
        });
        Held { create, errors, go, calls, init: state["pid"].as_i64().unwrap() as i32 }
    }

    /// Says `packet`, with a descriptor or none, in init's place.
    fn say(&self, packet: &[u8], with: Option<&File>) {
        let channel = self.channel();
        let fds = with.map(AsFd::as_fd);
        let fds = fds.as_slice();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        }
        rustix::net::sendmsg(&channel, &[IoSlice::new(packet)], &mut control, SendFlags::empty()).unwrap();
    }

    fn channel(&self) -> OwnedFd {
        let pidfd = pidfd_open(Pid::from_raw(self.init).unwrap(), PidfdFlags::empty()).unwrap();
        let numbers = std::fs::read_dir(format!("/proc/{}/fd", self.init)).unwrap().flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let mut sockets = numbers.filter_map(|number| {
            let fd = pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()).ok()?;
            (rustix::net::sockopt::socket_type(&fd) == Ok(SocketType::SEQPACKET)).then_some(fd)
        });
        sockets.next().expect("init has a channel")
    }

    /// The error of a create that goes on, and how often the hook was called.
    #[track_caller]
    fn refused(mut self) -> (String, usize) {
        std::fs::write(&self.go, "").unwrap();
        let status = self.create.wait().unwrap();
        let error = std::fs::read_to_string(&self.errors).unwrap();
        assert_eq!(status.code(), Some(1), "{error}");
        let calls = std::fs::read_to_string(&self.calls).unwrap();
        (error, serde_json::Deserializer::from_str(&calls).into_iter::<Value>().count())
    }
}

fn refused(name: &str, bundle: impl Fn(Bundle) -> Bundle, packet: &[u8], times: u32) -> (String, usize) {
    let scratch = Scratch::new(name);
    let firn = Runtime::firn(&scratch);
    let held = Held::create(&scratch, &firn, bundle(Bundle::new(&scratch).args(&["true"])));
    let root = File::open("/").unwrap();
    for _ in 0..times {
        held.say(packet, Some(&root));
    }
    let refused = held.refused();
    firn.left_nothing();
    refused
}

/// Nothing is done twice for an init.
#[test]
fn an_init_is_served_once() {
    let (error, calls) = refused("hookstwice", |bundle| bundle, b"h", 1);
    assert!(error.contains("unexpected message Hooks"), "{error}");
    assert_eq!(calls, 1, "the hook was called again");
    let (error, _) = refused("maptwice", |bundle| bundle, b"M\0\0\0\0", 2);
    assert!(error.contains("unexpected message MapMount(0)"), "{error}");
    let scratch = Scratch::new("agenttwice");
    let agent = scratch.join("agent");
    let listener = std::os::unix::net::UnixListener::bind(&agent).unwrap();
    let filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": agent,
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
    });
    let (error, _) = refused("filtertwice", |bundle| bundle.set("/linux/seccomp", filter.clone()), b"L", 2);
    assert!(error.contains("unexpected message Filter"), "{error}");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_ok() && listener.accept().is_err(), "the agent was called once");
}

/// An init that joins a pid namespace names the process that it has made: a number of
/// anybody's would be taken for the container, and killed when it can't be made.
#[test]
fn an_init_names_only_a_process_that_it_has_made() {
    let mut victim = Command::new("sleep").arg("1000").spawn().unwrap();
    let mut holder =
        Command::new("unshare").args(["--pid", "--fork", "--kill-child", "sleep", "1000"]).spawn().unwrap();
    let children = format!("/proc/{0}/task/{0}/children", holder.id());
    let mut pid = String::new();
    wait_until("the pid namespace is there", || {
        pid = std::fs::read_to_string(&children).unwrap().trim().to_owned();
        !pid.is_empty()
    });
    let path = Path::new("/proc").join(&pid).join("ns/pid");
    let join = |bundle: Bundle| {
        bundle.without_namespace("pid").set("/linux/namespaces/-", json!({"type": "pid", "path": path}))
    };
    let packet = [b"p".as_slice(), &victim.id().to_le_bytes()].concat();
    let (error, _) = refused("named", join, &packet, 1);
    let lives = victim.try_wait().unwrap().is_none();
    for child in [&mut victim, &mut holder] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(error.contains("is not a child of the runtime"), "{error}");
    assert!(lives, "a process of somebody else's was killed");
}
