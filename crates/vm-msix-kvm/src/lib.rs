//! vm-msix-kvm
