pub mod copy;
pub mod overlay;
pub mod users;
pub mod view;
