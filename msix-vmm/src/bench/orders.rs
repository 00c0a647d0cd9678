//! The orders in which a driver brings vectors up.

use vm_msix::test_utils::{GuestDriver, RegisterAccess};

use super::host::message;

/// Enables under Function Mask, programs and unmasks every entry, and then clears Function Mask: all vectors open
/// at once.
pub(super) fn batch<A: RegisterAccess>(driver: &mut GuestDriver<A>, vectors: u16) {
    driver.enable_under_mask();
    for vector in 0..vectors {
        driver.program(vector, message(vector, 0));
        driver.unmask(vector);
    }
    driver.unmask_function();
}

/// Programs every entry masked, clears Function Mask, and unmasks one vector after the other.
pub(super) fn one_by_one<A: RegisterAccess>(
    driver: &mut GuestDriver<A>,
    vectors: u16,
    mut unmask: impl FnMut(&mut GuestDriver<A>, u16),
) {
    driver.enable_under_mask();
    (0..vectors).for_each(|vector| driver.program(vector, message(vector, 0)));
    driver.unmask_function();
    (0..vectors).for_each(|vector| unmask(driver, vector));
}

/// As Linux does: masks every entry under Function Mask, clears that, and then, vector by vector as their interrupts
/// are requested, writes the message while masked and unmasks.
pub(super) fn linux<A: RegisterAccess>(
    driver: &mut GuestDriver<A>,
    vectors: u16,
    mut unmask: impl FnMut(&mut GuestDriver<A>, u16),
) {
    driver.enable_under_mask();
    (0..vectors).for_each(|vector| driver.mask(vector));
    driver.unmask_function();
    for vector in 0..vectors {
        driver.program(vector, message(vector, 0));
        unmask(driver, vector);
    }
}
