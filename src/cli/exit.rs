//! What the exit code of a command means. The same for all of them.

/// Nothing at error level.
pub const CLEAN: u8 = 0;
/// Something at error level.
pub const FOUND: u8 = 1;
/// Wrong usage, or something that was named cannot be read.
pub const USAGE: u8 = 2;
/// Something could not be found out, and nothing worse was found.
pub const UNDETERMINED: u8 = 3;
