//! `firn-image` with the real binaries.

mod common;

mod layers;

mod closure;

mod copy;

mod inspect;
