//! Images in tar files: `oci-archive:` and `docker-archive:`.

use super::oci_layout::INDEX_LIMIT;
use super::tar_file::{TarFile, TarFileError};
use crate::oci::file_range::FileRange;
use crate::oci::graph::{Blobs, DOCUMENT_LIMIT, GraphError, Image};
use crate::oci::index::{IndexError, choose_image};
use crate::oci::platform::{NoPlatform, Platform};
use crate::oci::reference::ImageName;
use oci_spec::image::{Digest, ImageConfiguration, ImageIndex};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Why an image can't be read from an archive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error(transparent)]
    Tar(#[from] TarFileError),
    #[error("{path}: read {member}: is it an archive of this kind?")]
    Read { path: PathBuf, member: String, source: io::Error },
    #[error("{path}: parse {member}")]
    Parse { path: PathBuf, member: String, source: serde_json::Error },
    #[error("{path}: no image {name:?}: it has {known}")]
    NoName { path: PathBuf, name: String, known: String },
    #[error("{path}: it has several images: give the name of one: it has {known}")]
    Ambiguous { path: PathBuf, known: String },
    #[error("{0}: it has no image")]
    Empty(PathBuf),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("{path}")]
    Platform { path: PathBuf, source: NoPlatform },
    #[error("{path}")]
    Graph { path: PathBuf, source: Box<GraphError> },
}

/// A tar file of an image layout.
pub(crate) struct LayoutArchive(TarFile);

impl LayoutArchive {
    pub(crate) fn open(file: &Path, scratch: &Path) -> Result<Self, ArchiveError> {
        Ok(Self(TarFile::open(file, scratch)?))
    }

    /// The image of this name, the only one if none is given; for `platform`, or for this machine.
    pub(crate) fn image(&self, name: &ImageName, platform: Option<&Platform>) -> Result<Image, ArchiveError> {
        let index: ImageIndex = document(&self.0, "index.json", INDEX_LIMIT)?;
        Ok(choose_image(self, &index, name, platform)?)
    }
}

impl Blobs for LayoutArchive {
    fn open(&self, digest: &Digest) -> io::Result<FileRange> {
        self.0.read(&format!("blobs/{}/{}", digest.algorithm(), digest.digest()))
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}

/// A tar file as `docker save` writes it.
pub(crate) struct DockerArchive {
    tar: TarFile,
    /// The members with the layers of the image, by their diff ids.
    layers: HashMap<String, String>,
}

/// An entry of manifest.json.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl DockerImage {
    fn tags(&self) -> impl Iterator<Item = &String> {
        self.repo_tags.iter().flatten()
    }
}

impl DockerArchive {
    /// The archive, its image of this name, the only one if none is given, and the bytes of its config.
    /// Errors: the image is not for `platform`, where there is one.
    pub(crate) fn open(
        file: &Path,
        name: Option<&str>,
        platform: Option<&Platform>,
        scratch: &Path,
    ) -> Result<(Self, Image, Vec<u8>), ArchiveError> {
        let tar = TarFile::open(file, scratch)?;
        let images: Vec<DockerImage> = document(&tar, "manifest.json", INDEX_LIMIT)?;
        let found = choose(&images, name, file)?;
        let member = found.config.trim_start_matches("./");
        let text = bytes(&tar, member, DOCUMENT_LIMIT)?;
        let config: ImageConfiguration = parse(&tar, member, &text)?;
        let graph = |error| ArchiveError::Graph { path: file.to_owned(), source: Box::new(error) };
        let image = Image::new(config, vec![None; found.layers.len()]).map_err(graph)?;
        let checked = platform.map_or(Ok(()), |wanted| wanted.check(&image.config));
        checked.map_err(|source| ArchiveError::Platform { path: file.to_owned(), source })?;
        let ids = image.layers.iter().map(|layer| layer.diff_id.to_string());
        let layers = ids.zip(found.layers.iter().map(|name| name.trim_start_matches("./").to_owned())).collect();
        Ok((Self { tar, layers }, image, text))
    }
}

impl Blobs for DockerArchive {
    fn open(&self, diff_id: &Digest) -> io::Result<FileRange> {
        let member = self.layers.get(&diff_id.to_string()).ok_or(io::ErrorKind::NotFound)?;
        self.tar.read(member)
    }

    fn path(&self) -> PathBuf {
        self.tar.path().to_owned()
    }
}

fn choose<'a>(images: &'a [DockerImage], name: Option<&str>, file: &Path) -> Result<&'a DockerImage, ArchiveError> {
    let path = || file.to_owned();
    let known = || {
        let names: Vec<_> = images.iter().flat_map(DockerImage::tags).map(String::as_str).collect();
        if names.is_empty() { "none with a name".into() } else { names.join(", ") }
    };
    match (name, images) {
        (_, []) => Err(ArchiveError::Empty(path())),
        (None, [only]) => Ok(only),
        (None, _) => Err(ArchiveError::Ambiguous { path: path(), known: known() }),
        (Some(name), _) => {
            let named = |image: &&DockerImage| image.tags().any(|tag| is_named(tag, name));
            let missing = || ArchiveError::NoName { path: path(), name: name.into(), known: known() };
            images.iter().find(named).ok_or_else(missing)
        }
    }
}

/// Whether a name of the archive is the one that was given: without a tag it stands for `latest`, and
/// docker leaves out its own registry.
fn is_named(tag: &str, name: &str) -> bool {
    let full = |name: &str| {
        let name = name.strip_prefix("docker.io/").unwrap_or(name);
        let name = name.strip_prefix("library/").unwrap_or(name);
        let has_tag = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
        if has_tag { name.to_owned() } else { format!("{name}:latest") }
    };
    full(tag) == full(name)
}

fn document<T: DeserializeOwned>(tar: &TarFile, member: &str, limit: u64) -> Result<T, ArchiveError> {
    parse(tar, member, &bytes(tar, member, limit)?)
}

fn parse<T: DeserializeOwned>(tar: &TarFile, member: &str, text: &[u8]) -> Result<T, ArchiveError> {
    let (path, member) = (tar.path().to_owned(), member.to_owned());
    serde_json::from_slice(text).map_err(|source| ArchiveError::Parse { path, member, source })
}

fn bytes(tar: &TarFile, member: &str, limit: u64) -> Result<Vec<u8>, ArchiveError> {
    let (path, name) = (tar.path().to_owned(), member.to_owned());
    let mut text = Vec::new();
    let read = tar.read(member).and_then(|section| section.take(limit).read_to_end(&mut text));
    read.map_err(|source| ArchiveError::Read { path, member: name, source })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::is_named;

    #[test]
    fn names_are_those_of_docker() {
        for name in ["web", "web:latest", "docker.io/library/web", "library/web:latest"] {
            assert!(is_named("web:latest", name), "{name}");
            assert!(is_named("docker.io/library/web:latest", name), "{name}");
        }
        assert!(!is_named("web:latest", "web:1"));
        assert!(is_named("localhost:5000/web:latest", "localhost:5000/web"));
    }
}
