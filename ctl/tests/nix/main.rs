//! The Nix files, evaluated by Nix, with a module system of our own (nix/tests/lib.nix) or, where
//! FIRN_TEST_NIXPKGS_LIB names it, with nixpkgs' `lib`; what they make is read by the real firnctl.

mod documents;
mod evaluate;
mod module;
mod options;
mod package;
mod samples;
mod take_over;
