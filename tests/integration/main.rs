//! What rocker does, seen from outside: one file per subject, all through the static binary.

#[cfg(test)]
mod harness;
#[cfg(test)]
mod harness_pty;
