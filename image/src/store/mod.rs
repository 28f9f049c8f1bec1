pub mod staging;
