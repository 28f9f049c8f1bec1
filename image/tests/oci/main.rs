//! Images as sources of bundles, with the real binaries, and with images of other programs.

#[expect(dead_code, reason = "shared with the tests of bundles, which need more of it")]
#[path = "../bundle/common.rs"]
mod common;
#[path = "../bundle/tree.rs"]
mod tree;

mod layout;
mod tar;

mod config;
mod dialects;
mod hostile;
mod ordinary_user;
mod peers;
mod references;
mod run;
mod store;
