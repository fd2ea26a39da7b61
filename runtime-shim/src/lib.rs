//! The process in each function.
