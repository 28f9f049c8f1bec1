pub mod adopt;
pub mod dir;
pub mod exit_record;
