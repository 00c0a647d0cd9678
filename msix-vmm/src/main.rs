//! msix-vmm
fn main() {}
