//! Targets: where a bundle becomes running functions.
