//! The whole house from outside: its example programs as separate processes.

mod lifecycle;
mod lifecycle_bad_input;
mod lifecycle_crash;
