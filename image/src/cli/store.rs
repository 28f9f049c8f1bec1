//! What the commands for the store share: where it is, and the names of its images.

use crate::oci::reference::{ImageName, Reference, RegistryName};
use crate::store::layers::{self, LayerStore, StoreError};
use clap::Args;
use std::path::PathBuf;
use std::str::FromStr;

/// Transports that begin a reference (containers-transports(5)).
pub(super) const TRANSPORTS: [&str; 5] = ["oci", "oci-archive", "docker-archive", "docker", "containers-storage"];

#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    /// The store: images that were pulled, and the layers that bundles share.
    /// Default: /var/lib/firn/layers, of an ordinary user $XDG_DATA_HOME/firn/layers.
    #[arg(long, value_name = "DIR")]
    layer_store: Option<PathBuf>,
}

impl StoreArgs {
    pub(super) fn place(&self) -> PathBuf {
        self.layer_store.clone().unwrap_or_else(layers::default_place)
    }

    pub(super) fn open(&self) -> Result<LayerStore, StoreError> {
        LayerStore::open(&self.place())
    }

    /// Waits for others who use it.
    pub(super) fn open_alone(&self) -> Result<LayerStore, StoreError> {
        LayerStore::open_alone(&self.place())
    }
}

/// An image of a registry, with or without `docker://`.
#[derive(Debug, Clone)]
pub(super) struct Name(pub(super) RegistryName);

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((transport, rest)) if TRANSPORTS.contains(&transport) && !rest.starts_with("//") => {
                return Err(format!(
                    "{text:?} may be a transport or a name: give docker://NAME for an image of a registry"
                ));
            }
            _ => {}
        }
        let reference = if text.starts_with("docker://") { text.parse() } else { format!("docker://{text}").parse() };
        match reference? {
            Reference::Registry(name) => Ok(Self(name)),
            _ => Err("give [docker://][REGISTRY/]NAME[:TAG|@DIGEST]".into()),
        }
    }
}

impl Name {
    /// Where the store has it.
    pub(super) fn in_store(&self, store: &LayerStore) -> Reference {
        let name = ImageName { tag: Some(self.0.whole()), digest: None };
        Reference::Layout { directory: store.images(), name }
    }
}

/// An image of the store, or one somewhere else.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Store(Name),
    Elsewhere(Reference),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((transport, _)) if TRANSPORTS.contains(&transport) && transport != "docker" => {
                text.parse().map(Self::Elsewhere)
            }
            _ => text.parse().map(Self::Store),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_references() {
        let name = |text: &str| text.parse::<Name>().map(|name| name.0.whole());
        assert_eq!(name("nginx:1.29").as_deref(), Ok("docker.io/library/nginx:1.29"));
        assert_eq!(name("docker://quay.io/a/b").as_deref(), Ok("quay.io/a/b:latest"));
        assert_eq!(name("docker://oci:latest").as_deref(), Ok("docker.io/library/oci:latest"));
        assert_eq!(name("localhost:5000/x").as_deref(), Ok("localhost:5000/x:latest"));
        for text in ["oci:latest", "docker:x", "", "X"] {
            assert!(name(text).is_err(), "{text}");
        }
        assert!(matches!("nginx".parse(), Ok(Place::Store(_))));
        assert!(matches!("oci:latest".parse(), Ok(Place::Elsewhere(_))));
        assert!(matches!("docker://x".parse(), Ok(Place::Store(_))));
    }
}
