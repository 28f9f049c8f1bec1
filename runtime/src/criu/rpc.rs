//! Requests and responses of CRIU, with the field numbers of its rpc.proto.

use super::wire::{Reader, Value, Writer};

/// criu_req_type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
    FeatureCheck = 9,
    Version = 10,
}

/// Field numbers of criu_opts.
pub mod opts {
    pub const IMAGES_DIR_FD: u32 = 1;
    pub const PID: u32 = 2;
    pub const LEAVE_RUNNING: u32 = 3;
    pub const EXT_UNIX_SK: u32 = 4;
    pub const TCP_ESTABLISHED: u32 = 5;
    pub const EVASIVE_DEVICES: u32 = 6;
    pub const SHELL_JOB: u32 = 7;
    pub const FILE_LOCKS: u32 = 8;
    pub const LOG_LEVEL: u32 = 9;
    pub const LOG_FILE: u32 = 10;
    pub const PAGE_SERVER: u32 = 11;
    pub const NOTIFY_SCRIPTS: u32 = 12;
    pub const ROOT: u32 = 13;
    pub const PARENT_IMG: u32 = 14;
    pub const TRACK_MEM: u32 = 15;
    pub const AUTO_DEDUP: u32 = 16;
    pub const WORK_DIR_FD: u32 = 17;
    pub const LINK_REMAP: u32 = 18;
    pub const EXT_MNT: u32 = 23;
    pub const MANAGE_CGROUPS: u32 = 24;
    pub const CG_ROOT: u32 = 25;
    pub const RST_SIBLING: u32 = 26;
    pub const INHERIT_FD: u32 = 27;
    pub const MANAGE_CGROUPS_MODE: u32 = 34;
    pub const EXTERNAL: u32 = 37;
    pub const EMPTY_NS: u32 = 38;
    pub const JOIN_NS: u32 = 39;
    pub const FREEZE_CGROUP: u32 = 44;
    pub const TCP_SKIP_IN_FLIGHT: u32 = 46;
    pub const LAZY_PAGES: u32 = 48;
    pub const ORPHAN_PTS_MASTER: u32 = 50;
    pub const CONFIG_FILE: u32 = 51;
    pub const TCP_CLOSE: u32 = 52;
    pub const LSM_PROFILE: u32 = 53;
    pub const LSM_MOUNT_CONTEXT: u32 = 63;
    pub const NETWORK_LOCK: u32 = 64;
    pub const MNTNS_COMPAT_MODE: u32 = 65;
}

/// A message of two strings: ext_mount_map, cgroup_root, join_namespace.
pub fn pair(first: &[u8], second: &[u8]) -> Writer {
    let mut pair = Writer::default();
    pair.bytes(1, first);
    pair.bytes(2, second);
    pair
}

/// inherit_fd: CRIU's descriptor for a key in the images.
pub fn inherit(key: &str, fd: i32) -> Writer {
    let mut inherit = Writer::default();
    inherit.bytes(1, key.as_bytes());
    inherit.signed(2, fd);
    inherit
}

/// criu_page_server_info.
pub fn page_server(address: &str, port: u16) -> Writer {
    let mut server = Writer::default();
    server.bytes(1, address.as_bytes());
    server.number(2, port.into());
    server
}

/// criu_req.
pub fn request(kind: Kind, opts: Option<&Writer>) -> Writer {
    let mut request = Writer::default();
    request.number(1, kind as u64);
    if let Some(opts) = opts {
        request.message(2, opts);
    }
    request
}

/// A request for the features mem_track and lazy_pages.
pub fn feature_check() -> Writer {
    let mut features = Writer::default();
    features.flag(1, true);
    features.flag(2, true);
    let mut request = request(Kind::FeatureCheck, None);
    request.message(5, &features);
    request
}

/// The reply to a notification.
pub fn acknowledge(success: bool) -> Writer {
    let mut answer = request(Kind::Notify, None);
    answer.number(3, success.into());
    answer
}

/// criu_resp.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Response {
    pub kind: u64,
    pub success: bool,
    /// Name of the notification (action script) at which CRIU waits for a reply.
    pub script: Option<String>,
    /// Pid of the restored init in the caller's pid namespace.
    pub pid: i32,
    pub errno: i32,
    pub message: String,
    pub tracks_memory: bool,
    pub fills_lazily: bool,
    /// 31701 means 3.17.1.
    pub version: u64,
}

impl Response {
    /// Parses a packet; missing fields have their default.
    pub fn parse(packet: &[u8]) -> Self {
        let mut response = Response::default();
        for (field, value) in Reader(packet) {
            match (field, value) {
                (1, Value::Number(kind)) => response.kind = kind,
                (2, Value::Number(success)) => response.success = success != 0,
                (4, Value::Bytes(restored)) => response.pid = number(restored, 1) as i32,
                (5, Value::Bytes(notify)) => response.notified(notify),
                (7, Value::Number(errno)) => response.errno = errno as i32,
                (8, Value::Bytes(features)) => {
                    response.tracks_memory = number(features, 1) != 0;
                    response.fills_lazily = number(features, 2) != 0;
                }
                (9, Value::Bytes(text)) => response.message = String::from_utf8_lossy(text).into_owned(),
                (10, Value::Bytes(version)) => {
                    response.version = number(version, 1) * 10_000 + number(version, 2) * 100 + number(version, 4);
                }
                _ => {}
            }
        }
        response
    }

    fn notified(&mut self, notify: &[u8]) {
        self.pid = number(notify, 2) as i32;
        let script = Reader(notify).find_map(|(field, value)| match value {
            Value::Bytes(text) if field == 1 => Some(text),
            _ => None,
        });
        self.script = Some(String::from_utf8_lossy(script.unwrap_or_default()).into_owned());
    }
}

/// An integer field of a message; 0 if absent.
fn number(message: &[u8], wanted: u64) -> u64 {
    let found = Reader(message).find_map(|(field, value)| match value {
        Value::Number(number) if field == wanted => Some(number),
        _ => None,
    });
    found.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let mut notify = Writer::default();
        notify.bytes(1, b"post-restore");
        notify.number(2, 4_000_000);
        let mut answer = Writer::default();
        answer.number(1, Kind::Notify as u64);
        answer.flag(2, true);
        answer.message(5, &notify);
        let read = Response::parse(answer.as_bytes());
        assert!(read.success && read.kind == Kind::Notify as u64);
        assert_eq!((read.script.as_deref(), read.pid), (Some("post-restore"), 4_000_000));

        let mut version = Writer::default();
        for (field, value) in [(1, 3), (2, 17), (4, 1)] {
            version.number(field, value);
        }
        let mut answer = Writer::default();
        answer.message(10, &version);
        answer.bytes(9, b"no");
        let read = Response::parse(answer.as_bytes());
        assert_eq!((read.version, read.message.as_str(), read.script), (31_701, "no", None));
    }
}
