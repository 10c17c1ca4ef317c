//! Disks without room.
