//! Where a root comes from: closures of store paths and directories.

pub mod store_path;

pub mod nix_cli;

pub mod path_list;

pub mod rootfs_dir;

pub mod view;

pub mod users;
