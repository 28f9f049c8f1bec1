//! The file format of a score, which `firn-bench` (`bench/src/score/`) writes and
//! `firn-floor` plays. Without std, for the player has none.

#![no_std]
#![forbid(unsafe_code)]

pub mod score;
