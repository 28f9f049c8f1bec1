//! Attacks of published kinds, each of which would succeed against a runtime
//! without the defence. The attacker is the root file system and what runs in
//! it; the host is a directory of canaries that must not change.

mod host;

mod devices;
mod handles;
mod held;
mod inherited;
mod joining;
mod keyrings;
mod links;
mod mounts;
mod numbers;
mod pods;
mod privileges;
mod races;
mod records;
mod settings;
mod spoken;
mod streams;
mod traced;
mod waiting;
