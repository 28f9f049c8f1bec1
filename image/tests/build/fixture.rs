//! Stores and images of the tests.

use crate::common::{IMAGE, Temp, needs, text};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// firn-image in the test's directory, with a cache of its own.
pub fn firn_image(temp: &Temp, args: &[&str]) -> Command {
    let mut command = Command::new(IMAGE);
    command.args(args).current_dir(&temp.0).env("XDG_CACHE_HOME", temp.path("cache")).env_remove("SOURCE_DATE_EPOCH");
    command
}

/// Runs `firn-image build` and expects success; what it prints.
pub fn built(temp: &Temp, args: &[&str]) -> String {
    success(&mut firn_image(temp, &[&["build"], args].concat()))
}

/// Runs it and expects failure; the message.
pub fn refused(temp: &Temp, args: &[&str]) -> String {
    let output = firn_image(temp, &[&["build"], args].concat()).output().expect("run firn-image");
    assert!(!output.status.success(), "{args:?} succeeded");
    text(&output.stderr).trim().to_owned()
}

/// Runs a command and expects success; what it prints.
pub fn success(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {}{}", text(&stdout), text(&stderr));
    text(&stdout)
}

/// Another program in the test's directory.
pub fn tool(temp: &Temp, program: &str, args: &[&str]) -> String {
    needs(program, program);
    success(Command::new(program).args(args).current_dir(&temp.0))
}

/// Unpacks an image by umoci; its root.
pub fn unpacked(temp: &Temp, image: &str, name: &str) -> PathBuf {
    tool(temp, "umoci", &["unpack", "--image", image, name]);
    temp.path(name).join("rootfs")
}

/// The manifest of an image in a layout, and its config.
pub fn documents(layout: &Path, tag: &str) -> (Value, Value) {
    let index = json(&layout.join("index.json"));
    let manifests = index["manifests"].as_array().expect("manifests");
    let of_tag = |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == tag;
    let manifest = blob(layout, manifests.iter().find(of_tag).unwrap_or_else(|| panic!("no image {tag}: {index}")));
    let config = blob(layout, &manifest["config"]);
    (manifest, config)
}

pub fn json(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).expect("parse JSON")
}

/// The document that a descriptor names.
pub fn blob(layout: &Path, descriptor: &Value) -> Value {
    json(&blob_path(layout, descriptor))
}

pub fn blob_path(layout: &Path, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"].as_str().expect("a digest");
    layout.join("blobs").join(digest.replace(':', "/"))
}

/// A store that Nix does not manage, with paths that refer to each other.
pub struct FakeStore<'a> {
    temp: &'a Temp,
    registration: String,
}

impl<'a> FakeStore<'a> {
    pub fn new(temp: &'a Temp) -> Self {
        Self { temp, registration: String::new() }
    }

    /// A store path with a program that prints `word`, and its references.
    pub fn add(&mut self, letter: &str, name: &str, word: &str, references: &[&str]) -> String {
        let path = format!("/nix/store/{}-{name}", letter.repeat(32));
        let place = self.temp.path(&format!("root{path}/bin/{name}"));
        std::fs::create_dir_all(place.parent().expect("a parent")).expect("make a store path");
        std::fs::write(&place, format!("#!/bin/sh\necho {word}\n")).expect("write");
        std::fs::set_permissions(&place, PermissionsExt::from_mode(0o555)).expect("chmod");
        self.registration += &format!("{path}\n\n{}\n", references.len());
        for reference in references {
            self.registration += &format!("{reference}\n");
        }
        path
    }

    /// Writes the references, and returns the options that name the store.
    pub fn options(&self) -> [String; 2] {
        let list = self.temp.path("registration");
        std::fs::write(&list, &self.registration).expect("write");
        [format!("--store={}", self.temp.path("root/nix/store").display()), format!("--store-paths={}", list.display())]
    }
}
