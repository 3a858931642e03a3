//! VM isolation: the container in a small virtual machine with its own kernel.
