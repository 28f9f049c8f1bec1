//! Writes image layouts of any layers, also such as no program writes.

use crate::common::Temp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::PathBuf;

pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).expect("compress");
    gzip.finish().expect("compress")
}

/// A layout in the directory `img` of a test, with one image per tag.
pub struct Layout<'a> {
    temp: &'a Temp,
    directory: PathBuf,
    manifests: Vec<Value>,
}

/// A blob as a layer names it.
pub struct Blob {
    pub bytes: Vec<u8>,
    pub media_type: &'static str,
    pub diff_id: String,
}

impl Blob {
    /// A layer as it should be.
    pub fn plain(tar: &[u8]) -> Self {
        Self { bytes: tar.to_vec(), media_type: "application/vnd.oci.image.layer.v1.tar", diff_id: digest(tar) }
    }

    pub fn gzip(tar: &[u8]) -> Self {
        let media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
        Self { bytes: gzip(tar), media_type, diff_id: digest(tar) }
    }
}

impl<'a> Layout<'a> {
    pub fn new(temp: &'a Temp) -> Self {
        Self::named(temp, "img")
    }

    pub fn named(temp: &'a Temp, name: &str) -> Self {
        let directory = temp.path(name);
        std::fs::create_dir_all(directory.join("blobs/sha256")).expect("make directory");
        std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("write");
        Self { temp, directory, manifests: Vec::new() }
    }

    /// Writes a blob; its descriptor.
    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest(bytes);
        let path = self.directory.join("blobs").join(digest.replace(':', "/"));
        std::fs::write(path, bytes).expect("write blob");
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    pub fn document(&self, media_type: &str, value: &Value) -> Value {
        self.blob(media_type, value.to_string().as_bytes())
    }

    /// The descriptor of a manifest of layers and a config's `config`.
    pub fn image(&self, layers: &[Blob], config: &Value) -> Value {
        let descriptors: Vec<Value> = layers.iter().map(|layer| self.blob(layer.media_type, &layer.bytes)).collect();
        let ids: Vec<&String> = layers.iter().map(|layer| &layer.diff_id).collect();
        let config = self.document(
            "application/vnd.oci.image.config.v1+json",
            &json!({ "os": "linux", "architecture": "amd64", "config": config,
                     "rootfs": { "type": "layers", "diff_ids": ids } }),
        );
        self.manifest(&config, &descriptors)
    }

    pub fn manifest(&self, config: &Value, layers: &[Value]) -> Value {
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        self.document(
            media_type,
            &json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers }),
        )
    }

    /// Adds an image of layers with a tag.
    pub fn add(self, tag: &str, layers: &[Blob]) -> Self {
        let manifest = self.image(layers, &json!({ "Cmd": ["/bin/true"] }));
        self.tag(tag, manifest)
    }

    /// Adds a descriptor with a tag, and writes the index.
    pub fn tag(mut self, tag: &str, mut descriptor: Value) -> Self {
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        self.manifests.push(descriptor);
        let index = json!({ "schemaVersion": 2, "manifests": self.manifests });
        std::fs::write(self.directory.join("index.json"), index.to_string()).expect("write index");
        self
    }

    /// Makes a bundle `out` with `--copy` of an image; the root.
    pub fn copied(&self, tag: &str) -> PathBuf {
        let name = format!("copy-{tag}");
        self.temp.made(&[&self.reference(tag), "--layer-store", "store", "--copy", "-o", &name]);
        self.temp.path(&name).join("rootfs")
    }

    /// The message by which an image is refused.
    pub fn refused(&self, tag: &str) -> String {
        std::fs::create_dir_all(self.temp.path("store")).expect("make directory");
        self.temp.refused(&[&self.reference(tag), "--layer-store", "store", "-o", "out"])
    }

    pub fn reference(&self, tag: &str) -> String {
        format!("oci:{}:{tag}", self.directory.display())
    }
}

/// The directory of the layer of this tar in the store.
pub fn layer(temp: &Temp, tar: &[u8]) -> PathBuf {
    temp.path("store").join(digest(tar).replace(':', "/"))
}
