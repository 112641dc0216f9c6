//! What a use-case tells while it works.

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A piece of work with a known amount began.
    Began {
        /// What, as a short phrase.
        what: String,
        /// How much there is to do; 0 when unknown.
        total: u64,
    },
    /// That much of it was done.
    Advanced {
        /// Amount since the last event.
        by: u64,
    },
    /// The piece of work ended.
    Ended,
}

/// Whoever listens: a progress bar, or nobody.
pub type Observer<'a> = &'a (dyn Fn(Event) + Send + Sync);

/// Nobody.
pub fn silent(_: Event) {}
