//! What each layer costs, measured.
