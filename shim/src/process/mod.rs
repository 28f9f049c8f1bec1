pub mod pipes;
pub mod pty;
pub mod reaper;
