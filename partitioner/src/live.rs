//! What is alive while a layer runs, of the layer's own and of what passes over it.

use crate::Problem;

/// Live bytes of each layer within the whole, less model inputs and tensors of earlier
/// layers that it does not read; at least its own tensors.
pub(crate) fn own_live_bytes(
    problem: &Problem,
    bytes: &[u64],
    reads: &[Vec<usize>],
    writes: &[Vec<usize>],
) -> Vec<u64> {
    let passing = passing_bytes(problem, bytes, reads, writes);
    problem
        .layers
        .iter()
        .enumerate()
        .map(|(position, layer)| {
            let touched: u64 =
                reads[position].iter().chain(&writes[position]).map(|&tensor| bytes[tensor]).sum();
            layer.peak_live.0.saturating_sub(passing[position]).max(touched)
        })
        .collect()
}

/// Bytes of tensors that are alive while a layer runs and that it does not touch.
pub(crate) fn passing_bytes(
    problem: &Problem,
    bytes: &[u64],
    reads: &[Vec<usize>],
    writes: &[Vec<usize>],
) -> Vec<u64> {
    let count = problem.layers.len();
    let last_use = |tensor: usize| {
        let tensor = &problem.tensors[tensor];
        if tensor.to_caller { count } else { tensor.consumers.last().copied().unwrap_or(0) }
    };
    let mut alive: u64 = 0;
    let mut ending = vec![0_u64; count + 1];
    for (index, tensor) in problem.tensors.iter().enumerate() {
        if tensor.producer.is_none() {
            alive += bytes[index];
            ending[last_use(index)] += bytes[index];
        }
    }
    let mut passing = Vec::with_capacity(count);
    for position in 0..count {
        let read: u64 = reads[position].iter().map(|&tensor| bytes[tensor]).sum();
        let written: u64 = writes[position].iter().map(|&tensor| bytes[tensor]).sum();
        passing.push(alive - read);
        for &tensor in &writes[position] {
            ending[last_use(tensor).max(position)] += bytes[tensor];
        }
        alive = alive + written - ending[position];
    }
    passing
}
