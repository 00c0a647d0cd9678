//! Thousands of random steps, of the guest, the device, those who hold descriptors, and a VMM that fails at random.

use super::model::Model;
use super::support::vmm::Faults;
use super::support::{alone, fds};

const VECTORS: u16 = 6;

fn run(seed: u64, steps: usize, faults: Faults) {
    // Seen when it fails.
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut model = Model::new(VECTORS, faults, seed);
    model.set_control(true, false);
    for step in 0..steps {
        let vector = random.u16(0..VECTORS);
        let which = random.usize(0..8);
        match random.u8(0..100) {
            0..30 => model.trigger(vector),
            30..42 => model.unmask(vector),
            42..52 => model.mask(vector),
            52..58 => model.program(vector),
            58..66 => model.write_guard(which),
            66..70 => model.take_guard(vector),
            70..73 => model.drop_guard(which),
            73..75 => model.adopt(vector, fds::new()),
            75..78 => model.swap(vector, random.u16(0..VECTORS)),
            78..80 => model.retract(vector),
            80..83 => model.set_control(random.u8(0..4) > 0, random.u8(0..4) == 0),
            83..85 => drop(model.msix.flush()),
            85..86 => model.reset(),
            86..93 => model.vmm.commit(),
            _ => model.deliver(),
        }
        model.deliver();
        model.check_pending();
        if step % 512 == 511 {
            model.settle();
            model.vmm.set_faults(faults);
        }
    }
    model.settle();
}

#[test]
fn c3_nothing_is_lost_or_invented_by_a_vmm_that_fails_nothing() {
    let _alone = alone();
    (0..4).for_each(|seed| run(seed, 2000, Faults::default()));
}

#[test]
fn c3_nothing_is_lost_or_invented_by_openings_that_fail_late() {
    let _alone = alone();
    let faults = Faults { late: 30, ..Faults::default() };
    (0..4).for_each(|seed| run(seed, 2000, faults));
}

#[test]
fn c3_nothing_is_lost_or_invented_by_openings_that_fail_at_once() {
    let _alone = alone();
    let faults = Faults { open: 30, ..Faults::default() };
    (0..4).for_each(|seed| run(seed, 2000, faults));
}

#[test]
fn c3_nothing_is_lost_or_invented_by_eventfds_that_are_refused() {
    let _alone = alone();
    let faults = Faults { adopt: 30, ..Faults::default() };
    (0..4).for_each(|seed| run(seed, 2000, faults));
}

#[test]
fn c3_nothing_is_lost_or_invented_by_swaps_that_fail() {
    let _alone = alone();
    let faults = Faults { swap: 30, late: 20, ..Faults::default() };
    (0..4).for_each(|seed| run(seed, 2000, faults));
}

#[test]
fn c3_nothing_is_lost_or_invented_by_all_of_that_together() {
    let _alone = alone();
    let faults = Faults { adopt: 15, open: 15, late: 15, swap: 15, ..Faults::default() };
    (0..16).for_each(|seed| run(seed, 2000, faults));
}
