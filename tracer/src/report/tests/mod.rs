pub(crate) mod fixture;
mod golden;
mod profile;
mod shape;
mod verdicts;
