//! Which image of an index is for this machine.

use oci_spec::image::{Arch, Descriptor, ImageIndex, Os};

/// Why an index has no image for this machine.
#[derive(Debug, thiserror::Error)]
#[error("no image for {wanted}: it has {known}")]
pub(crate) struct NoPlatform {
    wanted: String,
    known: String,
}

/// The manifest of an index for this machine; the only one where it names no platform.
pub(crate) fn choose(index: &ImageIndex) -> Result<&Descriptor, NoPlatform> {
    let (os, architecture) = (Os::Linux, this_architecture());
    let manifests = index.manifests();
    let fits = |descriptor: &&Descriptor| {
        let platform = descriptor.platform().as_ref();
        platform.is_some_and(|platform| (platform.os(), platform.architecture()) == (&os, &architecture))
    };
    let nameless = match &manifests[..] {
        [only] if only.platform().is_none() => Some(only),
        _ => None,
    };
    manifests.iter().find(fits).or(nameless).ok_or_else(|| {
        let platforms = manifests.iter().filter_map(|descriptor| descriptor.platform().as_ref());
        let names: Vec<_> =
            platforms.map(|platform| format!("{}/{}", platform.os(), platform.architecture())).collect();
        let known = if names.is_empty() { "none with a platform".into() } else { names.join(", ") };
        NoPlatform { wanted: format!("{os}/{architecture}"), known }
    })
}

fn this_architecture() -> Arch {
    match std::env::consts::ARCH {
        "x86_64" => Arch::Amd64,
        "aarch64" => Arch::ARM64,
        "x86" => Arch::i386,
        other => Arch::Other(other.into()),
    }
}
