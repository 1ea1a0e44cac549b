//! What a participant believes, and what it refuses to.

mod descriptors;
mod documents;
mod made;
mod subscribers;
