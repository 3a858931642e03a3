//! `hull image`, and the same verbs without it.

mod list;
mod transfer;

use crate::verb::{group, verbs};

verbs! {
    /// Verbs that need no `image` before them.
    Everyday {
        /// Fetch an image from a registry
        Pull: transfer::Pull,
        /// Send an image to a registry
        Push: transfer::Push,
        /// Give an image another name
        Tag: transfer::Tag,
        /// Write images as an archive
        Save: transfer::Save,
        /// Read images from an archive
        Load: transfer::Load,
        /// Make an image of a tar archive
        Import: transfer::Import,
        /// Show the steps that an image was made by
        History: list::History,
    }
}

verbs! {
    /// Verbs behind `image`.
    Verbs {
        /// List images
        #[command(visible_alias = "list")]
        Ls: list::Images,
        /// Build an image from a Dockerfile
        Build: crate::build::Build,
        /// Show everything about images
        Inspect: list::Inspect,
        /// Remove images
        Rm: list::Rmi,
        /// Remove images that nobody uses
        Prune: list::Prune,
        => { Everyday: Everyday, }
    }
}

group! {
    /// Images.
    Image of Verbs
}

pub(crate) use list::{Images, Rmi, prune};
pub(crate) use transfer::{fetch, qualified, tagged};
