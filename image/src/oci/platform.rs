//! Which image of an index is meant: the one for a platform (image-spec, "image-index.md").

use oci_spec::image::{Arch, Descriptor, ImageConfiguration, ImageIndex, Os};
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// A processor's architecture, and how new it must be. The system is always linux.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Platform {
    architecture: Arch,
    /// As in `v7`; `None` where any processor of the architecture will do.
    variant: Option<String>,
}

/// Why there is no image for a platform.
#[derive(Debug, thiserror::Error)]
#[error("no image for {wanted}: it has {known}")]
pub(crate) struct NoPlatform {
    wanted: String,
    known: String,
}

impl Platform {
    pub(crate) fn of_this_machine() -> Self {
        Self { architecture: architecture(std::env::consts::ARCH), variant: None }
    }

    pub(crate) fn architecture(&self) -> &Arch {
        &self.architecture
    }

    /// `None` where none was given.
    pub(crate) fn variant_given(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// How well this platform runs images of that one: the higher the better; `None`: not at all.
    /// As in containerd, a processor runs what was made for an older one.
    fn rank(&self, of_image: &Self) -> Option<u32> {
        if self.architecture != of_image.architecture {
            return None;
        }
        let (own, other) = (self.variant(), of_image.variant());
        match (number(own), number(other)) {
            (Some(own), Some(other)) => (other <= own).then_some(other),
            _ => (own == other).then_some(0),
        }
    }

    /// The variant that is meant where none is written.
    fn variant(&self) -> &str {
        match (&self.variant, &self.architecture) {
            (Some(variant), _) => variant,
            (None, Arch::ARM) => "v7",
            (None, Arch::ARM64) => "v8",
            (None, _) => "v1",
        }
    }

    /// Errors: the image is for another platform.
    pub(crate) fn check(&self, config: &ImageConfiguration) -> Result<(), NoPlatform> {
        let known = Self { architecture: config.architecture().clone(), variant: config.variant().clone() };
        match self.rank(&known) {
            Some(_) if *config.os() == Os::Linux => Ok(()),
            _ => Err(NoPlatform { wanted: self.to_string(), known: shown(config.os(), &known) }),
        }
    }
}

/// `v7` → 7.
fn number(variant: &str) -> Option<u32> {
    variant.strip_prefix('v')?.parse().ok()
}

/// The manifest of an index for this platform, or for this machine; the only one where it names no platform.
pub(crate) fn choose<'a>(index: &'a ImageIndex, wanted: Option<&Platform>) -> Result<&'a Descriptor, NoPlatform> {
    let wanted = wanted.cloned().unwrap_or_else(Platform::of_this_machine);
    let manifests = index.manifests();
    let rank = |descriptor: &Descriptor| match of_descriptor(descriptor)? {
        (Os::Linux, platform) => wanted.rank(&platform),
        _ => None,
    };
    // The first of several that are as good.
    let ranked = manifests.iter().rev().filter_map(|descriptor| Some((rank(descriptor)?, descriptor)));
    let best = ranked.max_by_key(|(rank, _)| *rank).map(|(_, descriptor)| descriptor);
    let nameless = match &manifests[..] {
        [only] if only.platform().is_none() => Some(only),
        _ => None,
    };
    best.or(nameless).ok_or_else(|| {
        let names: Vec<_> =
            manifests.iter().filter_map(of_descriptor).map(|(os, platform)| shown(&os, &platform)).collect();
        let known = if names.is_empty() { "none with a platform".into() } else { names.join(", ") };
        NoPlatform { wanted: wanted.to_string(), known }
    })
}

fn of_descriptor(descriptor: &Descriptor) -> Option<(Os, Platform)> {
    let platform = descriptor.platform().as_ref()?;
    let (architecture, variant) = (platform.architecture().clone(), platform.variant().clone());
    Some((platform.os().clone(), Platform { architecture, variant }))
}

impl FromStr for Platform {
    type Err = String;

    /// `[linux/]ARCHITECTURE[/VARIANT]`, as podman and docker take it.
    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split('/').collect();
        let words = match &words[..] {
            ["linux", rest @ ..] => rest,
            [os, _, ..] if !matches!(Os::from(*os), Os::Other(_)) => {
                return Err(format!("{os}: only images for linux can be run or kept: give linux/ARCHITECTURE"));
            }
            all => all,
        };
        let is_word =
            |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        match words {
            [name] if is_word(name) => Ok(Self { architecture: architecture(name), variant: None }),
            [name, variant] if is_word(name) && is_word(variant) => {
                Ok(Self { architecture: architecture(name), variant: Some((*variant).into()) })
            }
            _ => Err("give [linux/]ARCHITECTURE[/VARIANT], as in linux/arm64 or linux/arm/v7".into()),
        }
    }
}

impl Display for Platform {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(&shown(&Os::Linux, self))
    }
}

fn shown(os: &Os, platform: &Platform) -> String {
    let variant = platform.variant.iter().map(|variant| format!("/{variant}"));
    format!("{os}/{}{}", platform.architecture, variant.collect::<String>())
}

/// By its name in images, or by the kernel's (uname(2)).
fn architecture(name: &str) -> Arch {
    Arch::from(match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" | "i686" => "386",
        "powerpc64le" => "ppc64le",
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn chosen(platforms: &[&str], wanted: Option<&str>) -> Result<usize, String> {
        let manifests: Vec<_> = platforms
            .iter()
            .enumerate()
            .map(|(size, platform)| {
                let words: Vec<&str> = platform.split('/').collect();
                let mut platform = json!({ "os": words[0], "architecture": words[1] });
                words.get(2).into_iter().for_each(|variant| platform["variant"] = json!(variant));
                let digest = format!("sha256:{}", "0".repeat(64));
                json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": size, "digest": digest, "platform": platform })
            })
            .collect();
        let index = serde_json::from_value(json!({ "schemaVersion": 2, "manifests": manifests })).unwrap();
        let wanted = wanted.map(|wanted| wanted.parse::<Platform>().unwrap());
        choose(&index, wanted.as_ref())
            .map(|found| usize::try_from(found.size()).unwrap())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_newest_variant_that_the_processor_runs_is_chosen() {
        let arm = ["linux/arm/v5", "linux/arm/v7", "linux/arm/v6", "linux/arm64", "windows/arm/v7"];
        assert_eq!(chosen(&arm, Some("linux/arm")), Ok(1));
        assert_eq!(chosen(&arm, Some("arm/v6")), Ok(2));
        assert_eq!(chosen(&arm, Some("linux/arm64/v8")), Ok(3));
        assert_eq!(chosen(&arm, Some("aarch64")), Ok(3));
        let intel = ["linux/amd64/v3", "linux/amd64", "unknown/unknown", "linux/amd64"];
        assert_eq!(chosen(&intel, Some("x86_64")), Ok(1));
        assert_eq!(chosen(&intel, Some("linux/amd64/v2")), Ok(1));
        assert_eq!(chosen(&intel, Some("linux/amd64/v4")), Ok(0));
        if cfg!(target_arch = "x86_64") {
            assert_eq!(chosen(&intel, None), Ok(1));
        }
    }

    #[test]
    fn what_there_is_instead_is_named() {
        let error = chosen(&["linux/arm64/v8", "windows/amd64"], Some("linux/amd64"));
        assert_eq!(error, Err("no image for linux/amd64: it has linux/arm64/v8, windows/amd64".into()));
        assert!(chosen(&["linux/arm/v7"], Some("arm/v6")).is_err());
        assert_eq!(chosen(&[], Some("riscv64")), Err("no image for linux/riscv64: it has none with a platform".into()));
    }

    #[test]
    fn platforms_are_written_as_for_podman() {
        let parse = |text: &str| text.parse::<Platform>().map(|platform| platform.to_string());
        assert_eq!(parse("linux/arm/v7").as_deref(), Ok("linux/arm/v7"));
        assert_eq!(parse("x86_64").as_deref(), Ok("linux/amd64"));
        assert_eq!(parse("arm/v7").as_deref(), Ok("linux/arm/v7"));
        assert!(parse("windows/amd64").unwrap_err().contains("only images for linux"));
        for wrong in ["", "linux", "linux/", "linux/arm/v7/x", "/amd64", "linux/a b", "arm64/"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
