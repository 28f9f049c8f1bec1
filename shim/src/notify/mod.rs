pub mod inbox;
pub mod upstream;
