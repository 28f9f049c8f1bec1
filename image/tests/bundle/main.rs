//! `firn-image` with the real binaries.

mod common;
mod tree;

mod layers;

mod closure;

mod copy;

mod inspect;
