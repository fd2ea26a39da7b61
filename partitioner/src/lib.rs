//! Profiles and prices in, plan out; pure.
