//! `firnctl`: containers by definition, run and changed while they run, by the real programs.

mod access;
mod analyze;
mod answers;
mod declared;
mod documents;
mod events;
mod extra_container;
mod firewall;
mod flake;
mod host;
mod leftovers;
mod life;
mod live;
mod machine;
mod names;
mod native;
mod network;
mod nix;
mod nixos_container;
mod options;
mod ordinary;
mod roots;
mod ssh;
mod together;
