//! Models as users have them: exported ones with reference answers, broken ones, rows in any number.

mod build;
mod broken;
mod golden;
mod rows;
