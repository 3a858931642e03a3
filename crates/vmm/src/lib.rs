//! Drives the hypervisor process: boot, devices, checkpoint, restore.
