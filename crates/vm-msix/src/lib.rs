//! vm-msix
