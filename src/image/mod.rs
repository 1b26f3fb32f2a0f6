//! Images: archives in, layers and their records on the disk, commits out.

mod bzip2;
mod collect;
mod commit;
mod compressed;
mod copies;
mod copy;
mod deferred;
mod digest;
mod extract;
mod import;
mod inflate;
mod pack;
mod progress;
mod record;
mod reference;
mod remove;
mod shift;
mod source;
mod stage;
mod store;
pub mod tar;
mod unpack;
mod writeback;

pub use collect::Removed;
pub use commit::Commit;
pub use copies::copy_name;
pub use copy::copy_tree;
pub use record::{Image, ImageConfig, LayerInfo};
pub use reference::Reference;
pub use remove::remove_tree;
pub use shift::Shift;
pub use stage::{Stage, holds_trees};
pub use store::{Hold, LAYERS, PLACES, Store};
pub use unpack::WHOLE;
