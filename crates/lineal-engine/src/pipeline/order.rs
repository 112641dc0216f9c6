//! The order in which steps can run.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Positions such that each comes after those it `needs`; otherwise ascending. If there is none, a circle of
/// positions, each needing the next one and the last one the first. Linear in steps and needs, but for the queue.
pub(super) fn topological(needs: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut waiting: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); needs.len()];
    for (position, list) in needs.iter().enumerate() {
        for need in list {
            needed_by[*need].push(position);
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..needs.len()).filter(|position| waiting[*position] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(needs.len());
    while let Some(Reverse(position)) = ready.pop() {
        order.push(position);
        for next in &needed_by[position] {
            waiting[*next] -= 1;
            if waiting[*next] == 0 {
                ready.push(Reverse(*next));
            }
        }
    }
    if order.len() == needs.len() { Ok(order) } else { Err(circle(needs, &waiting)) }
}

/// Every step that still waits needs another one that waits, so following them must come back.
fn circle(needs: &[Vec<usize>], waiting: &[usize]) -> Vec<usize> {
    let mut path = Vec::new();
    let mut seen_at: Vec<Option<usize>> = vec![None; needs.len()];
    let mut current = waiting.iter().position(|count| *count > 0);
    while let Some(position) = current {
        if let Some(start) = seen_at[position] {
            return path.split_off(start);
        }
        seen_at[position] = Some(path.len());
        path.push(position);
        current = needs[position].iter().copied().find(|need| waiting[*need] > 0);
    }
    path
}
