//! The bytes of an image (Linux, fs/erofs/erofs_fs.h; its documentation, "On-disk details").
//! Everything is little-endian. After the superblock come the inodes, each at a multiple of 32
//! bytes, which divided by 32 is its number; then whole blocks of directories and long links.

use super::tree::{Kind, Node};
use std::ffi::CString;

const BLOCK: usize = 4096;
const SLOT: usize = 32;
/// The superblock's offset and size.
const SUPERBLOCK: usize = 1024;
const SUPERBLOCK_SIZE: usize = 128;
const MAGIC: u32 = 0xE0F5_E1E2;
/// EROFS_FEATURE_INCOMPAT_CHUNKED_FILE.
const CHUNKED_FILES: u32 = 0x4;
/// EROFS_FEATURE_COMPAT_MTIME: times are of the last modification.
const MTIME: u32 = 0x2;
/// EROFS_XATTR_INDEX_TRUSTED: the prefix `trusted.`.
const TRUSTED: u8 = 4;
/// Bytes of the header before an inode's attributes.
const ATTRIBUTES_HEADER: usize = 12;
/// EROFS_NULL_ADDR: a chunk without data.
const HOLE: u32 = u32::MAX;
/// The time of compact inodes: what Nix gives every file.
const COMMON_TIME: (u64, u32) = (1, 0);

/// EROFS_INODE_*: where an inode's data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// In blocks from this one on.
    Plain { block: u32 },
    /// The same, but for the last part of a block, which follows the inode.
    Inline { block: u32 },
    /// In chunks, which the list after the inode names.
    Chunks { bits: u16 },
}

/// Where a node goes.
#[derive(Debug)]
struct Place {
    offset: usize,
    layout: Layout,
}

/// The image of a tree, whose first node is the root.
pub(super) fn write(nodes: &[Node]) -> Vec<u8> {
    let (places, end) = place_all(nodes);
    let mut image = vec![0; end];
    for (number, node) in nodes.iter().enumerate() {
        write_node(&mut image, nodes, &places, number, node);
    }
    write_superblock(&mut image, nodes.len(), &places[0]);
    image
}

/// Places all inodes, and the blocks after them. Returns the size of the image too.
fn place_all(nodes: &[Node]) -> (Vec<Place>, usize) {
    let mut at = SUPERBLOCK + SUPERBLOCK_SIZE;
    let mut blocks = 0;
    let mut places = Vec::with_capacity(nodes.len());
    for node in nodes {
        let head = inode_size(node) + attributes(node).len();
        let (layout, tail) = match &node.kind {
            Kind::File { size: 0, .. } => (Layout::Plain { block: 0 }, 0),
            Kind::File { size, .. } => (Layout::Chunks { bits: chunk_bits(*size) }, 4),
            _ => {
                let size = data_size(node);
                let (whole, rest) = (size / BLOCK, size % BLOCK);
                // The part after the inode must not cross a block.
                match rest > 0 && head + rest <= BLOCK {
                    true => (Layout::Inline { block: take(&mut blocks, whole) }, rest),
                    false => (Layout::Plain { block: take(&mut blocks, size.div_ceil(BLOCK)) }, 0),
                }
            }
        };
        if matches!(layout, Layout::Inline { .. }) && at % BLOCK + head + tail > BLOCK {
            at = at.next_multiple_of(BLOCK);
        }
        places.push(Place { offset: at, layout });
        at = (at + head + tail).next_multiple_of(SLOT);
    }
    let first = at.div_ceil(BLOCK) as u32;
    for place in &mut places {
        if let Layout::Plain { block } | Layout::Inline { block } = &mut place.layout {
            *block += first;
        }
    }
    (places, (first + blocks) as usize * BLOCK)
}

fn take(blocks: &mut u32, count: usize) -> u32 {
    let first = *blocks;
    *blocks += count as u32;
    first
}

fn write_node(image: &mut [u8], nodes: &[Node], places: &[Place], number: usize, node: &Node) {
    let place = &places[number];
    let mut bytes = inode(number, node, place.layout);
    bytes.extend(attributes(node));
    let mut data = match &node.kind {
        Kind::File { .. } => Vec::new(),
        Kind::Directory { parent, entries, .. } => directory(nodes, places, number, *parent, entries),
        Kind::Symlink { target } => target.clone(),
    };
    match place.layout {
        Layout::Chunks { .. } => bytes.extend(HOLE.to_le_bytes()),
        Layout::Plain { block } => put(image, block as usize * BLOCK, &data),
        Layout::Inline { block } => {
            let tail = data.split_off(data.len() / BLOCK * BLOCK);
            put(image, block as usize * BLOCK, &data);
            bytes.extend(tail);
        }
    }
    put(image, place.offset, &bytes);
}

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    if !bytes.is_empty() {
        image[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// Whether the inode has the long form: the short one has no time and little room.
fn is_extended(node: &Node) -> bool {
    let is_large = |id: u32| id > u32::from(u16::MAX);
    let size = match node.kind {
        Kind::File { size, .. } => size,
        _ => 0,
    };
    node.mtime != COMMON_TIME
        || is_large(node.uid)
        || is_large(node.gid)
        || u32::try_from(size).is_err()
        || links(node) > u32::from(u16::MAX)
}

fn inode_size(node: &Node) -> usize {
    if is_extended(node) { 64 } else { 32 }
}

/// `struct erofs_inode_compact` or `struct erofs_inode_extended`.
fn inode(number: usize, node: &Node, layout: Layout) -> Vec<u8> {
    let (kind, where_data) = match layout {
        Layout::Plain { block } => (0, block),
        Layout::Inline { block } => (2, block),
        Layout::Chunks { bits } => (4, u32::from(bits)),
    };
    let (file_type, size) = match &node.kind {
        Kind::Directory { .. } => (0o040_000, data_size(node) as u64),
        Kind::File { size, .. } => (0o100_000, *size),
        Kind::Symlink { target } => (0o120_000, target.len() as u64),
    };
    // `i_xattr_icount`: of the attributes' bytes, in fours and with the header as one.
    let attributes = match attributes(node).len() {
        0 => 0,
        length => (length - ATTRIBUTES_HEADER) / 4 + 1,
    };
    let is_extended = is_extended(node);
    let mut bytes = Vec::with_capacity(64);
    bytes.extend((u16::from(is_extended) | kind << 1).to_le_bytes());
    bytes.extend((attributes as u16).to_le_bytes());
    bytes.extend((file_type | node.mode).to_le_bytes());
    let (ino, links) = (number as u32 + 1, links(node));
    if is_extended {
        bytes.extend([0; 2]);
        bytes.extend(size.to_le_bytes());
        bytes.extend([where_data, ino, node.uid, node.gid].iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend(node.mtime.0.to_le_bytes());
        bytes.extend(node.mtime.1.to_le_bytes());
        bytes.extend(links.to_le_bytes());
        bytes.extend([0; 16]);
    } else {
        bytes.extend((links as u16).to_le_bytes());
        bytes.extend((size as u32).to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend([where_data, ino].iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend([node.uid as u16, node.gid as u16].iter().flat_map(|half| half.to_le_bytes()));
        bytes.extend([0; 4]);
    }
    bytes
}

fn links(node: &Node) -> u32 {
    match &node.kind {
        Kind::Directory { subdirectories, .. } => 2 + subdirectories,
        _ => 1,
    }
}

/// The list of attributes after an inode, with its header. Empty for what has none.
fn attributes(node: &Node) -> Vec<u8> {
    let Kind::File { size: 1.., path } = &node.kind else { return Vec::new() };
    let mut bytes = vec![0; ATTRIBUTES_HEADER];
    for (name, value) in [(&b"overlay.metacopy"[..], &b""[..]), (b"overlay.redirect", path)] {
        bytes.extend([name.len() as u8, TRUSTED]);
        bytes.extend((value.len() as u16).to_le_bytes());
        bytes.extend(name);
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// How many bits more than a block's a chunk has that holds all of a file.
fn chunk_bits(size: u64) -> u16 {
    let bits = u64::BITS - (size - 1).leading_zeros();
    bits.saturating_sub(BLOCK.trailing_zeros()) as u16
}

fn data_size(node: &Node) -> usize {
    match &node.kind {
        Kind::File { .. } => 0,
        Kind::Symlink { target } => target.len(),
        Kind::Directory { entries, .. } => {
            let mut blocks = 0;
            let mut rest = 0;
            for length in lengths(entries) {
                if rest + length > BLOCK {
                    blocks += 1;
                    rest = 0;
                }
                rest += length;
            }
            blocks * BLOCK + rest
        }
    }
}

/// Bytes of a directory's entry without its name, `struct erofs_dirent`.
const ENTRY: usize = 12;

/// What each entry of a directory takes, in order.
fn lengths(entries: &[(CString, usize)]) -> impl Iterator<Item = usize> {
    with_dots(entries).into_iter().map(|(name, _)| ENTRY + name.len())
}

/// Which node an entry leads to.
#[derive(Debug, Clone, Copy)]
enum Target {
    Itself,
    Parent,
    Node(usize),
}

/// The entries with `.` and `..`, in the order of their bytes.
fn with_dots(entries: &[(CString, usize)]) -> Vec<(&[u8], Target)> {
    let mut all: Vec<_> = entries.iter().map(|(name, number)| (name.as_bytes(), Target::Node(*number))).collect();
    for (dots, target) in [(&b"."[..], Target::Itself), (b"..", Target::Parent)] {
        let at = all.partition_point(|(name, _)| *name < dots);
        all.insert(at, (dots, target));
    }
    all
}

/// A directory's data: in each block the entries, and then their names.
fn directory(nodes: &[Node], places: &[Place], own: usize, parent: usize, entries: &[(CString, usize)]) -> Vec<u8> {
    let mut data = Vec::new();
    let mut block: Vec<(&[u8], usize)> = Vec::new();
    let mut used = 0;
    for (name, target) in with_dots(entries) {
        let number = match target {
            Target::Itself => own,
            Target::Parent => parent,
            Target::Node(number) => number,
        };
        if used + ENTRY + name.len() > BLOCK {
            write_block(&mut data, nodes, places, &block);
            data.resize(data.len().next_multiple_of(BLOCK), 0);
            block.clear();
            used = 0;
        }
        block.push((name, number));
        used += ENTRY + name.len();
    }
    write_block(&mut data, nodes, places, &block);
    data
}

fn write_block(data: &mut Vec<u8>, nodes: &[Node], places: &[Place], block: &[(&[u8], usize)]) {
    let mut name_at = block.len() * ENTRY;
    for (name, number) in block {
        let file_type = match nodes[*number].kind {
            Kind::File { .. } => 1,
            Kind::Directory { .. } => 2,
            Kind::Symlink { .. } => 7,
        };
        data.extend(((places[*number].offset / SLOT) as u64).to_le_bytes());
        data.extend((name_at as u16).to_le_bytes());
        data.extend([file_type, 0]);
        name_at += name.len();
    }
    block.iter().for_each(|(name, _)| data.extend(*name));
}

/// `struct erofs_super_block`.
fn write_superblock(image: &mut [u8], inodes: usize, root: &Place) {
    let blocks = (image.len() / BLOCK) as u32;
    let mut bytes = Vec::with_capacity(SUPERBLOCK_SIZE);
    bytes.extend(MAGIC.to_le_bytes());
    // No checksum: that feature is not set.
    bytes.extend([0; 4]);
    bytes.extend(MTIME.to_le_bytes());
    bytes.extend([BLOCK.trailing_zeros() as u8, 0]);
    bytes.extend(((root.offset / SLOT) as u16).to_le_bytes());
    bytes.extend((inodes as u64).to_le_bytes());
    bytes.extend(COMMON_TIME.0.to_le_bytes());
    bytes.extend(COMMON_TIME.1.to_le_bytes());
    bytes.extend(blocks.to_le_bytes());
    // Inodes and shared attributes are counted from block 0; no UUID and no name.
    bytes.extend([0; 4 + 4 + 16 + 16]);
    bytes.extend(CHUNKED_FILES.to_le_bytes());
    bytes.resize(SUPERBLOCK_SIZE, 0);
    put(image, SUPERBLOCK, &bytes);
}
