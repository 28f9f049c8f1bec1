//! The images that are unpacked: always the same bytes.

use crate::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::{Path, PathBuf};

/// An image in a layout.
pub struct Input {
    pub name: &'static str,
    /// With the tag `v`.
    pub layout: PathBuf,
    /// The same in a tar file, for programs that take no layout.
    pub archive: PathBuf,
    pub blobs: Vec<PathBuf>,
    /// The layers without compression.
    pub tars: Vec<PathBuf>,
}

/// Layers, files in each, and about how many bytes a file has.
const SHAPES: [(&str, usize, usize, usize); 3] =
    [("one layer of 200 MB", 1, 9000, 21_500), ("40 layers", 40, 450, 7000), ("100,000 small files", 1, 100_000, 600)];

impl Input {
    pub fn all(scratch: &Path) -> Result<Vec<Self>> {
        SHAPES.into_iter().map(|shape| Self::make(scratch, shape)).collect()
    }

    /// A word for files and repositories.
    pub fn word(&self) -> String {
        self.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-").to_ascii_lowercase()
    }

    fn make(scratch: &Path, (name, layers, files, size): (&'static str, usize, usize, usize)) -> Result<Self> {
        println!("making an image: {name}");
        let mut input =
            Input { name, layout: PathBuf::new(), archive: PathBuf::new(), blobs: Vec::new(), tars: Vec::new() };
        input.layout = scratch.join(input.word());
        input.archive = scratch.join(input.word() + ".tar");
        std::fs::create_dir_all(input.layout.join("blobs/sha256"))?;
        let (mut descriptors, mut diff_ids) = (Vec::new(), Vec::new());
        let mut random = Random(files as u64);
        for layer in 0..layers {
            let tar = layer_tar(&mut random, layer, files, size);
            let place = scratch.join(format!("{}-{layer}.layer", input.word()));
            std::fs::write(&place, &tar)?;
            diff_ids.push(digest(&tar));
            let mut gzip = GzEncoder::new(Vec::new(), Compression::new(6));
            gzip.write_all(&tar)?;
            let blob = input.add("application/vnd.oci.image.layer.v1.tar+gzip", &gzip.finish()?)?;
            input.blobs.push(input.layout.join("blobs").join(blob["digest"].as_str().unwrap_or("").replace(':', "/")));
            input.tars.push(place);
            descriptors.push(blob);
        }
        let config = json!({ "os": "linux", "architecture": architecture(), "config": { "Cmd": ["/bin/true"] },
                             "rootfs": { "type": "layers", "diff_ids": diff_ids } });
        let config = input.add("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes())?;
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": descriptors });
        let mut manifest = input.add(media_type, manifest.to_string().as_bytes())?;
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "v" });
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        std::fs::write(input.layout.join("index.json"), index.to_string())?;
        std::fs::write(input.layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let names = ["-cf", &input.archive.to_string_lossy(), "-C", &input.layout.to_string_lossy(), "."];
        let tar = std::process::Command::new("tar").args(names).status()?;
        if tar.success() { Ok(input) } else { Err("tar fails".into()) }
    }

    fn add(&self, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let digest = digest(bytes);
        std::fs::write(self.layout.join("blobs").join(digest.replace(':', "/")), bytes)?;
        Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Directories of 30 files; of the files a half is like text, and a half like programs.
fn layer_tar(random: &mut Random, layer: usize, files: usize, size: usize) -> Vec<u8> {
    let words: Vec<Vec<u8>> =
        (0..4096).map(|_| (0..2 + random.below(9)).map(|_| b'a' + random.below(26) as u8).collect()).collect();
    let mut tar = Vec::new();
    member(&mut tar, "usr/", b'5', &[]);
    let mut directory = String::new();
    for number in 0..files {
        if number % 30 == 0 {
            directory = format!("usr/layer-{layer}-{}/", number / 30);
            member(&mut tar, &directory, b'5', &[]);
        }
        // From a tenth to three times as many bytes: most files are small.
        let length = size / 10 + random.below((size * 2).max(1)).min(random.below((size * 4).max(1)));
        let content = if random.below(2) == 0 { text(random, &words, length) } else { binary(random, length) };
        member(&mut tar, &format!("{directory}file-{number}"), b'0', &content);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

fn text(random: &mut Random, words: &[Vec<u8>], length: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(length + 16);
    while text.len() < length {
        // Some words are more frequent than others.
        let at = random.below(words.len()).min(random.below(words.len())).min(random.below(words.len()));
        text.extend_from_slice(&words[at]);
        text.push(b' ');
    }
    text.truncate(length);
    text
}

/// Pieces that are new, and pieces that were there before.
fn binary(random: &mut Random, length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::with_capacity(length + 64);
    while bytes.len() < length {
        let count = 4 + random.below(24);
        match random.below(5) {
            0 | 1 => bytes.extend((0..count).map(|_| random.next() as u8)),
            2 => bytes.resize(bytes.len() + count, 0),
            _ if bytes.len() > 32 => {
                let from = bytes.len() - 32.min(bytes.len()) - random.below((bytes.len() - 32).clamp(1, 4096));
                bytes.extend_from_within(from..from + count.min(bytes.len() - from));
            }
            _ => bytes.push(0x48),
        }
    }
    bytes.truncate(length);
    bytes
}

fn member(tar: &mut Vec<u8>, path: &str, kind: u8, data: &[u8]) {
    let mut block = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, path.as_bytes());
    put(100, if kind == b'5' { b"0000755\0" } else { b"0000644\0" });
    put(108, b"0000000\x000000000\0");
    put(124, format!("{:011o}\0{:011o}\0", data.len(), 1_600_000_000).as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.extend_from_slice(&block);
    tar.extend_from_slice(data);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}
