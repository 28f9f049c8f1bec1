//! The least that a container costs, and what a runtime costs beside it.
//!
//! | module | what it holds |
//! |---|---|
//! | [`view`] | the machine's cgroups as v1 alone or v2 alone |
//! | [`engine`] | config.json as podman writes it |
//! | [`score`] | writes what `firn-floor` plays: the system calls of a container |
//! | [`counts`] | system calls and instructions of each command |
//!
//! The bench itself is the program, `main.rs`; the suite uses these modules too, to
//! hold the counts to a ceiling and the floor to what firn makes.

#![forbid(unsafe_code)]

pub mod counts;
pub mod engine;
pub mod score;
pub mod view;
