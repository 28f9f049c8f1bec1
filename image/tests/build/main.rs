//! `firn-image build` with the real binary: what it writes is read by skopeo, umoci and podman.

#[path = "../bundle/common.rs"]
#[allow(dead_code, reason = "the tests of bundles use more of it")]
mod common;

mod fixture;

mod tree;

mod cache;

mod closure;

mod containerd;

mod diff;

mod directory;

mod etc;

mod layout;

mod options;

mod podman;
