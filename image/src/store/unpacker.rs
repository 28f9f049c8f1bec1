//! Has layers unpacked by processes that may do little else. They are forked by a process that is
//! forked itself when firn-image has one thread, and waits for requests: layers are unpacked while
//! others are fetched, by threads.

use super::unpack::{Request, unpack};
use crate::layer::whiteout::Marks;
use crate::oci::file_range::FileRange;
use crate::oci::graph::Layer;
use crate::sandbox::process::{Child, write_all};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitOptions, wait};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::sync::Arc;

/// Bytes of a request at most.
const REQUEST: usize = 64 << 10;
/// Descriptors of a request at most: the layer's directory, where the answer goes, the lock of the
/// staging directory, which stays locked as long as anything is written there, and those of the blob.
const DESCRIPTORS: usize = 5;

/// The bytes of a layer.
#[derive(Debug, Clone)]
pub(super) struct Bytes {
    pub(super) blob: FileRange,
    /// Whether they are compared with the layer's descriptor where they are written.
    pub(super) is_compared: bool,
}

/// The process that forks those that unpack.
#[derive(Debug)]
pub(crate) struct Unpacker {
    /// `None` when it shall end.
    socket: Option<OwnedFd>,
    _server: Child,
}

impl Unpacker {
    /// Errors: firn-image has several threads by now.
    pub(crate) fn start() -> io::Result<Self> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let server = Child::start(&[theirs.as_fd()], || serve(&theirs).map_or(1, |()| 0))?;
        Ok(Self { socket: Some(ours), _server: server })
    }

    /// Unpacks a layer into the empty directory `top`. The list of its directories without an entry,
    /// or why it can't be unpacked. Several threads can call it.
    pub(super) fn unpack(
        &self,
        Bytes { blob, is_compared }: &Bytes,
        layer: &Layer,
        marks: Marks,
        top: BorrowedFd<'_>,
        lock: BorrowedFd<'_>,
    ) -> io::Result<Result<Vec<u8>, String>> {
        let files = blob.descriptors();
        let request = Request {
            digest: layer.digest().to_string(),
            blob: layer.blob.clone().filter(|_| !is_compared),
            diff_id: layer.diff_id.to_string(),
            range: blob.offsets(),
            is_growing: files.len() > 1,
            marks,
        };
        let text = serde_json::to_vec(&request).map_err(io::Error::other)?;
        let (answer, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [&[top, theirs.as_fd(), lock], &files[..]].concat();
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        sendmsg(socket, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL)?;
        drop(theirs);
        let mut text = Vec::new();
        File::from(answer).read_to_end(&mut text)?;
        match text.split_first() {
            Some((0, list)) => Ok(Ok(list.to_vec())),
            Some((_, reason)) => Ok(Err(String::from_utf8_lossy(reason).into_owned())),
            None => Err(io::Error::other("the process that unpacks it was killed")),
        }
    }
}

impl Drop for Unpacker {
    fn drop(&mut self) {
        // The end of its input is the end of the process, which is waited for next.
        self.socket = None;
    }
}

/// Forks a process for each request, and waits for all of them in the end.
fn serve(socket: &OwnedFd) -> io::Result<()> {
    let mut text = vec![0; REQUEST];
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let message = loop {
            match recvmsg(socket, &mut [IoSliceMut::new(&mut text)], &mut control, flags) {
                Err(rustix::io::Errno::INTR) => {}
                result => break result?,
            }
        };
        while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
        if message.bytes == 0 {
            break;
        }
        let mut descriptors = control.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
            _ => Vec::new(),
        });
        let mut next = || descriptors.next().ok_or(io::ErrorKind::InvalidData);
        let (top, answer, lock, blob) = (next()?, next()?, next()?, next()?);
        let request: Request = serde_json::from_slice(&text[..message.bytes]).map_err(io::Error::other)?;
        let mut blob = FileRange::new(Arc::new(blob.into()), request.range.0, request.range.1);
        if request.is_growing {
            blob = blob.growing(next()?);
        }
        let kept = [&[top.as_fd(), answer.as_fd(), lock.as_fd()], &blob.descriptors()[..]].concat();
        crate::sys::fork(&kept, || answer_with(&answer, unpack(&request, &blob, &top)))?;
    }
    while wait(WaitOptions::empty()).is_ok() {}
    Ok(())
}

fn answer_with(answer: &OwnedFd, result: Result<Vec<u8>, String>) -> u8 {
    let (mark, rest) = match result {
        Ok(list) => (0, list),
        Err(reason) => (1, reason.into_bytes()),
    };
    write_all(answer, &[&[mark], &rest[..]].concat()).map_or(1, |()| 0)
}
