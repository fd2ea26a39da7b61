//! A plan and a model in, a bundle of slices out.
