//! Writes the data of a file, with holes where it has them or blocks are zero.

use crate::tar::sparse::SparseMap;
use rustix::fd::{AsFd, BorrowedFd};
use std::io::{self, Read};

/// Bytes of a block that is left out if it is zero.
const BLOCK: usize = 4096;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// Writes the pieces of a file that is empty, from data that has them one after the other.
pub(super) fn write_pieces(
    file: impl AsFd,
    map: &SparseMap,
    data: &mut impl Read,
    buffer: &mut [u8],
) -> io::Result<()> {
    let file = file.as_fd();
    let mut end = 0;
    for &(offset, length) in map.pieces() {
        let mut at = offset;
        let mut left = length;
        while left > 0 {
            let count = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            data.read_exact(&mut buffer[..count])?;
            end = write_blocks(file, &buffer[..count], at)?.unwrap_or(end);
            at += count as u64;
            left -= count as u64;
        }
    }
    if end < map.size() {
        rustix::fs::ftruncate(file, map.size())?;
    }
    Ok(())
}

/// Writes the blocks that are not zero, each run of them by one call. The end of the last one.
fn write_blocks(file: BorrowedFd<'_>, data: &[u8], at: u64) -> io::Result<Option<u64>> {
    let is_zero = |block: &[u8]| block == &ZEROS[..block.len()];
    let (mut start, mut end) = (0, None);
    while start < data.len() {
        let block = |at: usize| &data[at..data.len().min(at + BLOCK)];
        if is_zero(block(start)) {
            start += BLOCK;
            continue;
        }
        let mut stop = start + BLOCK;
        while stop < data.len() && !is_zero(block(stop)) {
            stop += BLOCK;
        }
        let stop = stop.min(data.len());
        write_all_at(file, &data[start..stop], at + start as u64)?;
        end = Some(at + stop as u64);
        start = stop;
    }
    Ok(end)
}

fn write_all_at(file: BorrowedFd<'_>, mut data: &[u8], mut at: u64) -> io::Result<()> {
    while !data.is_empty() {
        let written = rustix::io::pwrite(file, data, at)?;
        data = &data[written..];
        at += written as u64;
    }
    Ok(())
}
