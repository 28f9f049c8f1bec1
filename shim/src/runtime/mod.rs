pub mod command;
pub mod queue;
