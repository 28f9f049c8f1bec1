pub mod log;
pub mod sink;
pub mod stdio;
