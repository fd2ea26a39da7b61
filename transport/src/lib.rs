//! The frame, its codecs and its channels.
