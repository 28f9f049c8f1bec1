pub mod cli;
pub mod closure;
pub mod store_path;
