//! What no program that unpacks an image can do without: the decoder alone, and a plain writer of
//! the files from layers that are in memory already. Each takes as many layers at a time as there
//! are cores.

use crate::Result;
use flate2::bufread::MultiGzDecoder;
use rustix::fs::{Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `decompress BLOB…`, or `write DIRECTORY TAR…`.
pub fn run(words: &[String]) -> Result<()> {
    match words.split_first() {
        Some((word, blobs)) if word == "decompress" => for_each(blobs, |blob, _| decompress(blob.as_ref())),
        Some((word, rest)) if word == "write" => {
            let (directory, tars) = rest.split_first().ok_or("no directory")?;
            for_each(tars, |tar, at| write(tar.as_ref(), &Path::new(directory).join(at.to_string())))?;
            Ok(rustix::fs::syncfs(File::open(directory)?)?)
        }
        _ => Err("floor decompress BLOB…, or floor write DIRECTORY TAR…".into()),
    }
}

fn for_each(files: &[String], work: impl Fn(&str, usize) -> std::io::Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(files.len());
    let all = || -> std::io::Result<()> {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(at) else { return Ok(()) };
            work(file, at)?;
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(all)).collect();
        let mut result = all();
        for other in others {
            result = result.and(other.join().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into())));
        }
        Ok(result?)
    })
}

fn decompress(blob: &Path) -> std::io::Result<()> {
    let mut decoder = MultiGzDecoder::new(BufReader::with_capacity(128 << 10, File::open(blob)?));
    let mut buffer = vec![0; 128 << 10];
    while decoder.read(&mut buffer)? > 0 {}
    Ok(())
}

/// Every file by its path, with its owner, mode and time, as tar(1) does it.
fn write(tar: &Path, top: &Path) -> std::io::Result<()> {
    std::fs::create_dir(top)?;
    let top = File::open(top)?;
    let mut tar = BufReader::with_capacity(1 << 20, File::open(tar)?);
    let mut block = [0; 512];
    let mut data = Vec::new();
    loop {
        tar.read_exact(&mut block)?;
        let name = &block[..block.iter().position(|byte| *byte == 0).unwrap_or(100)];
        if name.is_empty() {
            return Ok(());
        }
        let size = block[124..135].iter().fold(0, |size, digit| size * 8 + usize::from(digit & 7));
        if block[156] == b'5' {
            rustix::fs::mkdirat(&top, name, Mode::from_raw_mode(0o755))?;
            continue;
        }
        data.resize(size.next_multiple_of(512), 0);
        tar.read_exact(&mut data)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&top, name, flags, Mode::from_raw_mode(0o644))?;
        let mut left = &data[..size];
        while !left.is_empty() {
            left = &left[rustix::io::write(&file, left)?..];
        }
        rustix::fs::fchown(&file, Some(Uid::ROOT), Some(Gid::ROOT))?;
        let time = Timespec { tv_sec: 1_600_000_000, tv_nsec: 0 };
        rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time })?;
    }
}
