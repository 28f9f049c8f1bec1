//! The files of an image without unpacking it: its layers are read as archives, one over the other,
//! with their whiteouts (image-spec, "layer.md").

use super::entry::{Kind, LayerEntry};
use super::error::ApplyError;
use crate::oci::blob::{BlobError, VerifyingReader};
use crate::oci::file_range::FileRange;
use crate::oci::graph::Layer;
use crate::oci::hash_write::{HashingWriter, digest_of};
use crate::sandbox::decoder::Decoder;
use crate::source::image::ImageSource;
use crate::tar::read::{TarError, TarReader};
use oci_spec::image::Digest;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const OPAQUE: &[u8] = b".wh..wh..opq";
const WHITEOUT: &[u8] = b".wh.";
/// Uncompressed bytes of a layer, and entries of all layers, at most.
const BYTE_LIMIT: u64 = 1 << 40;
const ENTRY_LIMIT: usize = 20_000_000;

/// What is no directory, by its absolute path.
pub(crate) type Contents = BTreeMap<PathBuf, Facts>;

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) size: u64,
    /// Of its kind, mode, owner and data.
    pub(crate) digest: Digest,
}

/// Why the contents can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContentsError {
    #[error("read layer {digest}")]
    Read { digest: Digest, source: io::Error },
    #[error("read layer {digest}")]
    Entry { digest: Digest, source: ApplyError },
    #[error("read layer {digest}")]
    Tar { digest: Digest, source: TarError },
    #[error("layer {0}: the image has more than {ENTRY_LIMIT} files")]
    TooMany(Digest),
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// The files of an image. All digests are checked.
pub(crate) fn read(source: &ImageSource) -> Result<Contents, ContentsError> {
    let mut contents = Contents::new();
    for layer in &source.image.layers {
        let failed = |source| ContentsError::Read { digest: layer.digest().clone(), source };
        let blob = source.blobs().open(layer.digest()).map_err(failed)?;
        if let Some(descriptor) = &layer.blob {
            VerifyingReader::of_descriptor(blob.clone(), descriptor)?.finish().map_err(failed)?;
        }
        read_layer(blob, layer, &mut contents)?;
    }
    Ok(contents)
}

fn read_layer(blob: FileRange, layer: &Layer, contents: &mut Contents) -> Result<(), ContentsError> {
    let digest = || layer.digest().clone();
    let failed = |source| ContentsError::Read { digest: digest(), source };
    let plain = Decoder::start(blob, BYTE_LIMIT).map_err(failed)?;
    let mut plain = VerifyingReader::of_digest(plain, &layer.diff_id)?;
    // Whiteouts hide only what is below, wherever in the archive they are.
    let (mut new, mut hidden) = (Contents::new(), Vec::new());
    let mut archive = TarReader::new(&mut plain);
    while let Some(member) = archive.next_member().map_err(|source| ContentsError::Tar { digest: digest(), source })? {
        let entry = LayerEntry::new(&member).map_err(|source| ContentsError::Entry { digest: digest(), source })?;
        let path = entry.path.to_path();
        let name = path.file_name().unwrap_or_default().as_bytes();
        if name == OPAQUE {
            hidden.extend(path.parent().map(Path::to_owned).map(Hidden::Below));
        } else if let Some(name) = name.strip_prefix(WHITEOUT) {
            hidden.push(Hidden::Whole(path.with_file_name(OsStr::from_bytes(name))));
        } else if entry.kind != Kind::Directory {
            let facts = facts(&entry, member.map.size(), &mut archive).map_err(failed)?;
            hidden.push(Hidden::Whole(path.clone()));
            new.insert(path, facts);
        } else {
            // A directory takes the place of a file, also of one that the archive had before.
            contents.remove(&path);
            new.remove(&path);
        }
        if new.len() + contents.len() > ENTRY_LIMIT {
            return Err(ContentsError::TooMany(digest()));
        }
    }
    hidden.iter().for_each(|hidden| hidden.remove_from(contents));
    contents.extend(new);
    plain.finish().map_err(failed)
}

enum Hidden {
    /// A name, and all below it.
    Whole(PathBuf),
    /// What is below a directory.
    Below(PathBuf),
}

impl Hidden {
    fn remove_from(&self, contents: &mut Contents) {
        let (path, itself) = match self {
            Self::Whole(path) => (path, true),
            Self::Below(path) => (path, false),
        };
        if itself {
            contents.remove(path);
        }
        // What is below a path follows it in the order of paths, which is by their names.
        let below = contents.range(path.clone()..).map(|(inside, _)| inside).filter(|inside| *inside != path);
        let below: Vec<PathBuf> = below.take_while(|inside| inside.starts_with(path)).cloned().collect();
        for inside in below {
            contents.remove(&inside);
        }
    }
}

fn facts(entry: &LayerEntry, size: u64, data: &mut impl Read) -> io::Result<Facts> {
    let attributes = &entry.attributes;
    let mut writer = HashingWriter::new(io::sink());
    let (mode, uid, gid) = (attributes.mode, attributes.uid, attributes.gid);
    writer.write_all(format!("{:?} {mode:o} {uid}:{gid} {:?}\n", entry.kind, attributes.xattrs).as_bytes())?;
    let is_file = entry.kind == Kind::File;
    if is_file {
        // Holes are left out, and their places hashed with the size.
        writer.write_all(format!("{size} {}\n", digest_of(data)?.0).as_bytes())?;
    }
    let (_, digest, _) = writer.finish()?;
    Ok(Facts { size: if is_file { size } else { 0 }, digest })
}
