//! What was decided is done: bundles, monitors, live changes; several containers in the order in which
//! they wait for each other.

mod block;
mod bundle;
pub mod change;
pub mod end;
pub mod first_root;
pub mod hosts;
mod ids;
mod inside;
pub mod keys;
pub mod live;
pub mod network;
pub mod order;
mod ports;
mod prepare;
pub mod start;
mod starting;
mod state_version;
pub mod stop;
pub mod unit;
pub mod update;
mod user_network;
