//! vm-pci-config
