//! Helpers for tests. They panic with what went wrong: a test that can't be
//! set up has failed.

pub mod bundle;
pub mod console;
pub mod descriptors;
pub mod left;
pub mod output;
pub mod place;
pub mod runtime;
pub mod suite;

pub use bundle::{Bundle, busybox_root};
pub use console::{ConsoleSocket, Terminal};
pub use left::Left;
pub use output::{Output, command};
pub use place::{Scratch, binary, skip, wait_until};
pub use runtime::Runtime;
