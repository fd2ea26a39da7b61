//! What the `tranche` command is made of.

pub mod tensor_files;
