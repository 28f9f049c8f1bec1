//! The keeper, spoken to as monitors do.

mod common;

use common::until;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg, sendmsg, socket_with, sockopt,
};
use serde_json::{Value, json};
use std::fs;
use std::io::{IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SHIM: &str = env!("CARGO_BIN_EXE_firn-shim");

/// A directory of state directories, and its keeper.
struct Base(PathBuf);

impl Base {
    fn new(name: &str) -> Base {
        Base::kept_by(name, &mut Command::new(SHIM))
    }

    /// With a keeper that this command starts.
    fn kept_by(name: &str, command: &mut Command) -> Base {
        let path = std::env::temp_dir().join(format!("firn-shim-test-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let base = Base(path);
        base.keep(command);
        base
    }

    fn keep(&self, command: &mut Command) {
        assert!(command.args(["keep", "--state-dir"]).arg(&self.0).status().unwrap().success());
    }

    fn connect(&self) -> OwnedFd {
        try_connect(&self.0).unwrap()
    }

    /// The pids of its keepers.
    fn pids(&self) -> Vec<String> {
        let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let is_one = |process: &PathBuf| {
            let line = fs::read_to_string(process.join("cmdline")).unwrap_or_default();
            line.split('\0').any(|word| Path::new(word) == self.0)
                && fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim() == "firn-keeper")
        };
        processes.filter(is_one).map(|process| process.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn try_connect(base: &Path) -> rustix::io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(base.join("@keeper/socket"))?)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(Duration::from_secs(20)))?;
    Ok(socket)
}

fn call(socket: &OwnedFd, request: &Value, fds: &[BorrowedFd<'_>]) -> Option<(Value, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let text = request.to_string();
    sendmsg(socket, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL).ok()?;
    let mut text = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let length = recvmsg(socket, &mut [IoSliceMut::new(&mut text)], &mut control, flags).ok()?.bytes;
    let fds = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
        _ => Vec::new(),
    });
    Some((serde_json::from_slice(&text[..length]).ok()?, fds.collect()))
}

fn hold(socket: &OwnedFd, container: &str, names: &str, fds: &[BorrowedFd<'_>]) {
    let (reply, _) = call(socket, &json!({"hold": {"container": container, "names": names}}), fds).unwrap();
    assert_eq!(reply["error"], Value::Null);
}

#[test]
fn what_is_held_is_given_back_until_it_is_forgotten() {
    let base = Base::new("keeper");
    // A second one is none.
    base.keep(&mut Command::new(SHIM));
    assert_eq!(base.pids().len(), 1);
    let socket = base.connect();
    let (reader, mut writer) = std::io::pipe().unwrap();
    fs::create_dir(base.0.join("web")).unwrap();
    hold(&socket, "web", "stdout other", &[reader.as_fd(), writer.as_fd()]);
    drop((socket, reader));
    writer.write_all(b"words").unwrap();
    let socket = base.connect();
    let (reply, mut fds) = call(&socket, &json!({"take": {"container": "web"}}), &[]).unwrap();
    assert_eq!((&reply["names"], fds.len()), (&json!("stdout other"), 2));
    let mut text = [0; 5];
    nix::unistd::read(fds.remove(0), &mut text).unwrap();
    assert_eq!(&text, b"words");
    hold(&socket, "web", "other", &[writer.as_fd()]);
    assert_eq!(call(&socket, &json!({"take": {"container": "web"}}), &[]).unwrap().0["names"], "other");
    for bad in ["../web", "@keeper", ""] {
        let (reply, _) = call(&socket, &json!({"hold": {"container": bad, "names": ""}}), &[]).unwrap();
        assert!(reply["error"].is_string(), "{bad}");
    }
    assert!(call(&socket, &json!({"no": "request"}), &[]).unwrap().0["error"].is_string());
    call(&socket, &json!({"forget": {"container": "web"}}), &[]).unwrap();
    assert_eq!(call(&socket, &json!({"take": {"container": "web"}}), &[]).unwrap().0["names"], "");
    drop(socket);
    until("its end, as there is nothing to hold", || base.pids().is_empty());
    assert!(!base.0.join("@keeper/socket").exists());
}

/// As on a kernel that does not keep it with the pidfd: to the keeper this one is Linux 2.6.
#[test]
fn how_a_process_has_ended_is_remembered() {
    let base = Base::kept_by("ends", Command::new("setarch").args(["--uname-2.6", SHIM]));
    let socket = base.connect();
    fs::create_dir(base.0.join("web")).unwrap();
    fs::create_dir(base.0.join("db")).unwrap();
    let start = |status: &str| {
        let mut child =
            Command::new("sh").args(["-c", "read line; exit $0", status]).stdin(Stdio::piped()).spawn().unwrap();
        let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        let input = child.stdin.take();
        (child, pidfd, input)
    };
    let hold = |container: &str, pidfd: &OwnedFd| {
        let request = json!({"hold": {"container": container, "names": "init", "process": "init"}});
        let (reply, _) = call(&socket, &request, &[pidfd.as_fd()]).unwrap();
        assert_eq!(reply["error"], Value::Null);
    };
    let ended = |container: &str| {
        let (reply, fds) = call(&socket, &json!({"take": {"container": container}}), &[]).unwrap();
        assert_eq!(fds.len(), 1);
        reply["ended"].as_i64()
    };
    let (mut web, web_pidfd, web_input) = start("7");
    let (mut db, db_pidfd, db_input) = start("133");
    hold("web", &web_pidfd);
    hold("db", &db_pidfd);
    assert_eq!((ended("web"), ended("db")), (None, None));
    drop(web_input);
    web.wait().unwrap();
    assert_eq!((ended("web"), ended("db")), (Some(7 << 8), None));
    // Given once more when it is gone, and has no pid.
    hold("web", &web_pidfd);
    assert_eq!(ended("web"), Some(7 << 8));
    drop(db_input);
    db.wait().unwrap();
    assert_eq!((ended("web"), ended("db")), (Some(7 << 8), Some(133 << 8)));
    // Another process in its place.
    let (mut web, web_pidfd, _input) = start("1");
    hold("web", &web_pidfd);
    assert_eq!(ended("web"), None);
    web.kill().unwrap();
    web.wait().unwrap();
    assert_eq!(ended("web"), Some(9));
}

#[test]
fn a_container_that_is_removed_by_hand_is_not_held() {
    let base = Base::new("removed");
    let socket = base.connect();
    fs::create_dir(base.0.join("web")).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    hold(&socket, "web", "stdout", &[reader.as_fd()]);
    drop((socket, reader));
    fs::remove_dir(base.0.join("web")).unwrap();
    until("the pipe's reading end is closed", || {
        let mut fds = [nix::poll::PollFd::new(writer.as_fd(), nix::poll::PollFlags::POLLOUT)];
        nix::poll::poll(&mut fds, nix::poll::PollTimeout::ZERO).unwrap();
        fds[0].revents().unwrap().contains(nix::poll::PollFlags::POLLERR)
    });
    until("its end", || base.pids().is_empty());
}

/// The last close of a TCP socket with SO_LINGER and a full buffer blocks: a container may have sent
/// one to its notification socket, which nobody has received.
#[test]
fn a_socket_that_lingers_does_not_hold_the_keeper() {
    let base = Base::new("lingers");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let _deaf = listener.accept().unwrap();
    sockopt::set_socket_linger(&tcp, Some(Duration::from_secs(15))).unwrap();
    tcp.set_nonblocking(true).unwrap();
    while tcp.write(&[0; 65536]).is_ok() {}
    let (theirs, ours) = UnixDatagram::pair().unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [tcp.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(&theirs, &[IoSlice::new(b"READY=1")], &mut control, SendFlags::empty()).unwrap();
    let socket = base.connect();
    fs::create_dir(base.0.join("web")).unwrap();
    hold(&socket, "web", "notify", &[ours.as_fd()]);
    drop((ours, tcp));
    let began = Instant::now();
    call(&socket, &json!({"forget": {"container": "web"}}), &[]).unwrap();
    call(&socket, &json!({"take": {"container": "web"}}), &[]).unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "held for {:?}", began.elapsed());
}

/// What the other user does.
#[test]
#[ignore = "is run by another test"]
fn asks() {
    let socket = try_connect(Path::new(&std::env::var("BASE").unwrap())).unwrap();
    assert!(call(&socket, &json!({"take": {"container": "web"}}), &[]).is_none());
}

#[test]
fn another_user_gets_nothing() {
    let base = Base::new("user");
    let socket = base.connect();
    fs::create_dir(base.0.join("web")).unwrap();
    hold(&socket, "web", "stdout", &[socket.as_fd()]);
    // The mode alone would do: without it SO_PEERCRED still does.
    let open = |path: PathBuf, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    open(base.0.clone(), 0o755);
    open(base.0.join("@keeper"), 0o755);
    open(base.0.join("@keeper/socket"), 0o666);
    let copy = base.0.join("asks");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let mut command = Command::new(copy);
    command.args(["asks", "--exact", "--ignored", "--quiet"]).env("BASE", &base.0).current_dir("/");
    assert!(command.uid(65534).gid(65534).status().unwrap().success());
    assert_eq!(call(&socket, &json!({"take": {"container": "web"}}), &[]).unwrap().0["names"], "stdout");
}

/// Under 1 MB for a thousand containers. The pages of the program file are the monitors' too.
#[test]
fn a_thousand_containers() {
    let base = Base::new("thousand");
    let (reader, _writer) = std::io::pipe().unwrap();
    let sockets: Vec<OwnedFd> = (0..1000).map(|_| base.connect()).collect();
    for (number, socket) in sockets.iter().enumerate() {
        let name = format!("container-{number}");
        fs::create_dir(base.0.join(&name)).unwrap();
        let fd = reader.as_fd();
        hold(socket, &name, "stdout stderr spool init notify", &[fd, fd, fd, fd, fd]);
    }
    let pids = base.pids();
    let smaps = fs::read_to_string(format!("/proc/{}/smaps_rollup", pids[0])).unwrap();
    let dirty = smaps.lines().find(|line| line.starts_with("Private_Dirty:")).unwrap();
    let kib: u64 = dirty.split_ascii_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib < 1024, "{kib} KiB: {smaps}");
}

/// A client is not left waiting, and the keeper not woken for it for ever.
#[test]
fn without_a_free_descriptor_clients_are_turned_away() {
    let base = Base::new("keeper-full");
    let first = base.connect();
    let asks = |socket: &OwnedFd| call(socket, &json!({"take": {"container": "nobody"}}), &[]).is_some();
    assert!(asks(&first));
    let keeper = base.pids().pop().unwrap();
    let limit = |count: usize| {
        let limit = format!("--nofile={count}:1024");
        assert!(Command::new("prlimit").args(["--pid", &keeper, &limit]).status().unwrap().success());
    };
    limit(fs::read_dir(format!("/proc/{keeper}/fd")).unwrap().count());
    for _ in 0..3 {
        assert_eq!(rustix::io::read(base.connect(), &mut [0; 8]), Ok(0));
    }
    // It sleeps: it is not told of clients who are gone.
    until("the keeper sleeps", || {
        let stat = fs::read_to_string(format!("/proc/{keeper}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with('S')
    });
    limit(1024);
    assert!(asks(&base.connect()) && asks(&first));
}
