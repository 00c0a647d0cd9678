//! Scenarios that are the same whether the function is in the VMM or in a device process.

use crate::world::{Function, World};

/// Function Mask opens two vectors, each with a signal in its latch and one in its counter.
pub(crate) fn what_waits_in_two_places_collapses(world: &World, function: &Function) {
    let (guards, producers): (Vec<_>, Vec<_>) = (0..2).map(|v| function.irqfd(v)).unzip();
    (0..2).for_each(|vector| function.unmask(vector));
    function.mask_all();
    for (vector, producer) in (0..2).zip(&producers) {
        function.device(vector).signal();
        producer.signal();
    }
    function.unmask_all();
    world.judge(&[function]);
    (0..2).for_each(|vector| function.expect_interrupts(vector, 1));
    drop(guards);
}
