//! References to images, as skopeo, podman and buildah write them
//! (containers-transports(5)).

use super::blob::parse_digest;
use oci_spec::image::Digest;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    /// A directory with an image layout (image-spec, "image-layout.md").
    Layout { directory: PathBuf, name: ImageName },
    /// A tar file of an image layout.
    LayoutArchive { file: PathBuf, name: ImageName },
    /// A tar file as `docker save` writes it, and the name of one image in it.
    DockerArchive { file: PathBuf, name: Option<String> },
    /// In a registry (distribution-spec).
    Registry(RegistryName),
}

/// The name of an image in a registry, with a tag or a digest.
pub(crate) type RegistryName = oci_client::Reference;

/// Which image of a layout.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ImageName {
    pub(crate) tag: Option<String>,
    /// Of its manifest or index. With a tag too, it must be the one of that.
    pub(crate) digest: Option<Digest>,
}

impl Display for Reference {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let image = |path: &Path, name: &ImageName| {
            let tag = name.tag.iter().map(|tag| format!(":{tag}"));
            let digest = name.digest.iter().map(|digest| format!("@{digest}"));
            format!("{}{}", path.display(), tag.chain(digest).collect::<String>())
        };
        match self {
            Self::Layout { directory, name } => write!(formatter, "oci:{}", image(directory, name)),
            Self::LayoutArchive { file, name } => write!(formatter, "oci-archive:{}", image(file, name)),
            Self::DockerArchive { file, name } => {
                let name = ImageName { tag: name.clone(), digest: None };
                write!(formatter, "docker-archive:{}", image(file, &name))
            }
            Self::Registry(name) => write!(formatter, "docker://{name}"),
        }
    }
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((transport, rest)) = text.split_once(':') else {
            return Err(format!(
                "{text:?} is no reference: give docker://NAME[:TAG], oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME]"
            ));
        };
        if transport == "docker" {
            let name = rest.strip_prefix("//").ok_or_else(|| format!("{text:?}: give docker://NAME[:TAG]"))?;
            return parse_name(name).map(Self::Registry);
        }
        let (rest, digest) = split_digest(rest)?;
        // As in containers-transports(5): the path has no colon.
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag.to_owned())),
            None => (rest, None),
        };
        match transport {
            "containers-storage" => {
                return Err("containers-storage: is podman's own: copy the image first, with `podman save --format oci-archive -o FILE NAME`".into());
            }
            "oci" | "oci-archive" | "docker-archive" => {}
            other => {
                return Err(format!(
                    "{other:?} is no transport: docker, oci, oci-archive and docker-archive are known"
                ));
            }
        }
        if path.is_empty() || tag.as_deref() == Some("") {
            return Err(format!("{text:?}: a path or a name is empty"));
        }
        match transport {
            "oci" => Ok(Self::Layout { directory: path.into(), name: ImageName { tag, digest } }),
            "oci-archive" => Ok(Self::LayoutArchive { file: path.into(), name: ImageName { tag, digest } }),
            _ if digest.is_some() => Err(format!("{text:?}: the images of a docker archive have names only")),
            _ => Ok(Self::DockerArchive { file: path.into(), name: tag }),
        }
    }
}

/// A name as podman takes it after `docker://`: the registry is docker.io where there is none.
fn parse_name(text: &str) -> Result<RegistryName, String> {
    RegistryName::from_str(text).map_err(|error| format!("image name {text:?}: {error}"))
}

/// Takes `@sha256:HEX` or `@sha512:HEX` from the end.
fn split_digest(text: &str) -> Result<(&str, Option<Digest>), String> {
    match text.rsplit_once('@') {
        Some((rest, digest)) if digest.starts_with("sha256:") || digest.starts_with("sha512:") => {
            Ok((rest, Some(parse_digest(digest).map_err(|error| error.to_string())?)))
        }
        _ => Ok((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_those_of_skopeo() {
        let parse = |text: &str| text.parse::<Reference>();
        let hex = "0".repeat(64);
        let layout = |directory: &str, tag: Option<&str>, digest: bool| {
            let digest = digest.then(|| parse_digest(&format!("sha256:{hex}")).unwrap());
            Ok(Reference::Layout { directory: directory.into(), name: ImageName { tag: tag.map(Into::into), digest } })
        };
        assert_eq!(parse("oci:/a/b"), layout("/a/b", None, false));
        assert_eq!(parse("oci:b:latest"), layout("b", Some("latest"), false));
        assert_eq!(parse(&format!("oci:b@sha256:{hex}")), layout("b", None, true));
        assert_eq!(parse(&format!("oci:b:1@sha256:{hex}")), layout("b", Some("1"), true));
        for text in
            [&*format!("oci:b:1@sha256:{hex}"), "oci:b", "oci-archive:x.tar:1", "docker-archive:x:docker.io/y:1"]
        {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        assert_eq!(parse("oci:/home/a@b:1"), layout("/home/a@b", Some("1"), false));
        let name = Some("docker.io/library/x:1".to_owned());
        assert_eq!(
            parse("docker-archive:x.tar:docker.io/library/x:1"),
            Ok(Reference::DockerArchive { file: "x.tar".into(), name })
        );
        let of_registry = |text: &str| match parse(text) {
            Ok(Reference::Registry(name)) => name.whole(),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(of_registry("docker://alpine"), "docker.io/library/alpine:latest");
        assert_eq!(of_registry("docker://quay.io:443/a/b:1"), "quay.io:443/a/b:1");
        assert_eq!(of_registry(&format!("docker://x/y@sha256:{hex}")), format!("docker.io/x/y@sha256:{hex}"));
        let with_digest = format!("docker-archive:x@sha256:{hex}");
        for wrong in [
            "",
            "x",
            "oci:",
            "oci:x:",
            "dir:/x",
            "docker:x",
            "docker://X",
            "containers-storage:x",
            "oci:x@sha256:00",
            &with_digest,
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
