//! Where an image is written to, as skopeo, podman and buildah write it (containers-transports(5)).

use super::reference::{Reference, RegistryName};
use std::path::PathBuf;
use std::str::FromStr;

/// A place for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A directory with an image layout (image-spec, "image-layout.md"), and the image's tag in it.
    Layout { directory: PathBuf, tag: String },
    /// A tar file of a layout with this image alone.
    Archive { file: PathBuf, tag: Option<String> },
    /// A registry (distribution-spec), by a name without a digest.
    Registry(RegistryName),
}

const FORMS: &str = "give oci:DIR:TAG, oci-archive:FILE[:TAG] or docker://[REGISTRY/]NAME[:TAG]";

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((transport, rest)) = text.split_once(':') else {
            return Err(FORMS.into());
        };
        if transport == "docker" {
            return match text.parse()? {
                Reference::Registry(name) if name.digest().is_none() => Ok(Self::Registry(name)),
                _ => Err(format!("{text:?}: a registry gives digests itself: name the image by a tag")),
            };
        }
        // The path has no colon, a tag may have more.
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (PathBuf::from(path), Some(check_tag(tag)?)),
            None => (PathBuf::from(rest), None),
        };
        match (transport, tag) {
            ("oci" | "oci-archive", _) if path.as_os_str().is_empty() => Err("the path is empty".into()),
            ("oci", Some(tag)) => Ok(Self::Layout { directory: path, tag }),
            ("oci", None) => Err(format!("give a tag, as in oci:{}:latest", path.display())),
            ("oci-archive", tag) => Ok(Self::Archive { file: path, tag }),
            (other, _) => Err(format!("{other:?} is no transport to write to: {FORMS}")),
        }
    }
}

/// The grammar of names in an index (image-spec, "annotations.md", org.opencontainers.image.ref.name).
fn check_tag(tag: &str) -> Result<String, String> {
    let mut last_separates = true;
    for byte in tag.bytes() {
        let separates = b"-._:@/+".contains(&byte);
        if !separates && !byte.is_ascii_alphanumeric() || separates && last_separates {
            return Err(format!("tag {tag:?}: give letters and digits, with one of - . _ : @ / + between them"));
        }
        last_separates = separates;
    }
    match last_separates {
        true => Err(format!("tag {tag:?}: it must end in a letter or a digit")),
        false => Ok(tag.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_those_of_skopeo() {
        let parse = |text: &str| text.parse::<Target>();
        assert_eq!(parse("oci:/a/b:1.0"), Ok(Target::Layout { directory: "/a/b".into(), tag: "1.0".into() }));
        let tag = Some("localhost/x:1".to_owned());
        assert_eq!(parse("oci-archive:x.tar:localhost/x:1"), Ok(Target::Archive { file: "x.tar".into(), tag }));
        assert_eq!(parse("oci-archive:x.tar"), Ok(Target::Archive { file: "x.tar".into(), tag: None }));
        for wrong in ["", "x", "oci:", "oci::t", "oci:x", "oci:x:", "oci:x:a b", "oci:x:-a", "oci:x:a..b", "dir:/x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let of_registry = |text: &str| match parse(text) {
            Ok(Target::Registry(name)) => Ok(name.whole()),
            other => Err(format!("{other:?}")),
        };
        assert_eq!(of_registry("docker://localhost:5000/x").as_deref(), Ok("localhost:5000/x:latest"));
        assert_eq!(of_registry("docker://x:1").as_deref(), Ok("docker.io/library/x:1"));
        assert!(of_registry(&format!("docker://x@sha256:{}", "0".repeat(64))).unwrap_err().contains("by a tag"));
        assert!(parse("docker:x").is_err());
    }
}
