//! What the machine gives: control groups, limited processes, peak memory, CPU share.
