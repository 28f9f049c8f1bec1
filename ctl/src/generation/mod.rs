//! What is kept of containers: what is wanted of them, what runs, and what ran before.
//!
//! | File of STATE/containers/NAME | Contents |
//! |---|---|
//! | `wanted.json` | the definition as it was installed last |
//! | `root/` | what the container has written, where that stays |
//! | `root-from` | where that was before it was taken over |
//! | `state-version` | the release of NixOS with which it began to write |
//! | `first-id` | the first of the ids that were picked for it |
//! | `log`, `log.1` | its output |
//! | `generations/N.json`, `generations/N` | what has run, and its system as a garbage collector root |
//!
//! | File of RUN/containers/NAME | Contents |
//! |---|---|
//! | `running.json` | the definition that runs |
//! | `bundles/N/NAME/`, `bundle` | the bundle of the last start and of changes since; a link to the last one |
//! | `root/` | what the container has written, where that goes with the host's reboot |
//! | `start.json` | what firnctl has done for the last start, and when |
//! | `network.json`, `network.moved`, `network.times` | what `firn-network` was told; the interfaces that it has moved in; when it was at work |
//! | `lock` | held while firnctl changes the container |

mod container;
mod files;
mod history;
mod record;
mod tree;

pub use container::{Container, Locked, all, lock, state_versions};
pub use files::make_directory;
pub use history::Generation;
pub use record::{Origin, Running, Start, VERSION, Wanted};
pub use tree::remove_tree;
