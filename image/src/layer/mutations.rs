//! Archives, compressed blobs, manifests and references that are damaged at random, always in the same
//! way: they are read or refused, in time, and nothing panics. `cargo xtask fuzz N` makes N of each.

use super::entry::LayerEntry;
use super::tar_write::{Entry, Kind, TarWriter};
use crate::oci::graph::Image;
use crate::oci::reference::Reference;
use crate::tar::decompress::decompress;
use crate::tar::read::TarReader;
use oci_spec::image::{ImageConfiguration, ImageIndex, ImageManifest};
use serde_json::json;
use std::io::{Read, Write};

/// Uncompressed bytes at most.
const LIMIT: u64 = 1 << 20;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit.max(1)
    }

    fn choose<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// How many of each kind.
fn count() -> usize {
    std::env::var("FIRN_MUTATIONS").ok().map_or(3000, |count| count.parse().expect("FIRN_MUTATIONS is no number"))
}

/// Changes some bytes, cuts, or repeats a piece.
fn damage(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len());
        let end = at + random.below(bytes.len() - at).min(600);
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = *random.choose(b"\0\x01/.09AZaz\"{}[]:,-\x7f\x80\xff"),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => bytes.extend_from_within(at..end),
            _ => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

/// An archive with a member of each kind, long names, attributes and odd numbers.
fn archive() -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new());
    let xattrs = [(b"user.note".to_vec(), b"a\0b".to_vec()), (b"security.capability".to_vec(), vec![1; 20])];
    let long = b"directory/".repeat(30);
    let entry = |path, kind, xattrs| Entry { path, kind, mode: 0o644, uid: 5, gid: 3_000_000, mtime: (-7, 5), xattrs };
    for (path, kind) in [
        (&b"d"[..], Kind::Directory),
        (b"d/link", Kind::Symlink { target: &long }),
        (b"d/hard", Kind::HardLink { target: b"d/file" }),
        (b"null", Kind::CharacterDevice { major: 1, minor: 3 }),
        (b"pipe", Kind::Fifo),
    ] {
        tar.append(&entry(path, kind, &[])).unwrap();
    }
    let text = b"text of a file".repeat(100);
    for path in [&b"d/file"[..], &[&long[..], b"file"].concat()] {
        tar.append_file(&entry(path, Kind::File { size: 0 }, &xattrs), text.len() as u64, &text[..]).unwrap();
    }
    tar.finish().unwrap()
}

/// Another type, or numbers at the edges, with a checksum that is right, so that more is read of it.
fn damage_headers(random: &mut Random, tar: &mut [u8]) {
    for _ in 0..=random.below(3) {
        let blocks: Vec<usize> = (0..tar.len() / 512).filter(|at| &tar[at * 512 + 257..][..5] == b"ustar").collect();
        let Some(at) = blocks.get(random.below(blocks.len())) else { return };
        let block = &mut tar[at * 512..][..512];
        match random.below(6) {
            0 => block[156] = *random.choose(b"\x0001234567xgLKSVDMNX"),
            1 => block[124..136].copy_from_slice(random.choose::<[u8; 12]>(&[
                *b"00000000000\0",
                *b"77777777777\0",
                *b"00000001000 ",
            ])),
            2 => block[124..136].fill(*random.choose(b"\x80\xff\0 7")),
            3 => block[257..265].copy_from_slice(random.choose::<[u8; 8]>(&[*b"ustar  \0", *b"ustar\x0000", [0; 8]])),
            4 => block[345..500].fill(*random.choose(b"/a\0.")),
            _ => {
                // A map of a sparse file of GNU.
                block[156] = b'S';
                block[257..265].copy_from_slice(b"ustar  \0");
                let start = random.below(90);
                block[386 + start..392 + start].copy_from_slice(random.choose::<[u8; 6]>(&[
                    *b"000010",
                    *b"777777",
                    *b"\x80\xff\xff\xff\xff\xff",
                ]));
                block[482] = random.below(2) as u8;
            }
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

/// How many members could be read.
fn read_archive(tar: &[u8]) -> usize {
    let mut reader = TarReader::new(tar);
    let mut members = 0;
    // Each member has a block.
    while let Ok(Some(member)) = reader.next_member() {
        members += 1;
        assert!(members <= tar.len() / 512, "more members than blocks");
        if let Ok(entry) = LayerEntry::new(&member) {
            assert!(!entry.path.as_bytes().split(|byte| *byte == b'/').any(|name| name == b".."));
        }
        let stored: u64 = member.map.pieces().iter().map(|(_, length)| length).sum();
        let read = std::io::copy(&mut reader, &mut std::io::sink());
        assert!(read.is_err() || read.is_ok_and(|read| read == stored), "the map is not that of the data");
    }
    members
}

#[test]
fn damaged_archives_are_read_or_refused() {
    let whole = archive();
    assert_eq!(read_archive(&whole), 7);
    let (mut random, mut members) = (Random(1), 0);
    for _ in 0..count() {
        let mut tar = whole.clone();
        damage_headers(&mut random, &mut tar);
        if random.below(2) == 0 {
            damage(&mut random, &mut tar);
        }
        members += read_archive(&tar);
    }
    // Not all of them end with the first header.
    assert!(members > count(), "{members} members of {} archives", count());
}

#[test]
fn damaged_blobs_are_decompressed_or_refused() {
    let tar = archive();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    let blobs = [gzip.finish().unwrap(), zstd::encode_all(&tar[..], 3).unwrap()];
    let mut random = Random(2);
    for number in 0..count() {
        let mut blob = blobs[number % 2].clone();
        damage(&mut random, &mut blob);
        if let Ok(plain) = decompress(&blob[..], LIMIT) {
            let mut read = Vec::new();
            let _ = plain.take(2 * LIMIT).read_to_end(&mut read);
            assert!(read.len() as u64 <= LIMIT + (1 << 17), "{} bytes", read.len());
        }
    }
}

#[test]
fn damaged_documents_are_read_or_refused() {
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let descriptor = json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 7,
                             "platform": { "os": "linux", "architecture": "amd64" }, "annotations": { "a": "b" } });
    let manifest = json!({ "schemaVersion": 2, "config": descriptor, "layers": [descriptor, descriptor] }).to_string();
    let index = json!({ "schemaVersion": 2, "manifests": [descriptor] }).to_string();
    let config = json!({ "os": "linux", "architecture": "amd64", "created": "2024-01-01T00:00:00Z",
                         "config": { "Cmd": ["a"], "Env": ["A=b"], "User": "1:2", "Volumes": { "/v": {} } },
                         "rootfs": { "type": "layers", "diff_ids": [digest, digest] } })
    .to_string();
    let mut random = Random(3);
    for number in 0..count() {
        let mut text = [&manifest, &index, &config][number % 3].clone().into_bytes();
        damage(&mut random, &mut text);
        let _ =
            serde_json::from_slice::<ImageIndex>(&text).map(|index| drop(crate::oci::platform::choose(&index, None)));
        let manifest = serde_json::from_slice::<ImageManifest>(&text);
        if let Ok(config) = serde_json::from_slice::<ImageConfiguration>(&text) {
            let layers =
                manifest.map_or(vec![None, None], |manifest| manifest.layers().iter().cloned().map(Some).collect());
            let _ = Image::new(config, layers);
        }
    }
}

#[test]
fn damaged_references_are_read_or_refused() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let wholes = [
        format!("docker://registry.example:5000/some/name:tag@{digest}"),
        format!("oci:/some/directory:tag@{digest}"),
        "oci-archive:file.tar:tag".into(),
        "docker-archive:file.tar:name:tag".into(),
    ];
    let mut random = Random(4);
    for _ in 0..count() {
        let mut text = random.choose(&wholes).clone().into_bytes();
        damage(&mut random, &mut text);
        if let Ok(text) = String::from_utf8(text) {
            let _ = text.parse::<Reference>();
        }
    }
}
