//! The node engine and the `vrfgate` command as an operator of one machine meets them: files and devices in,
//! gate, sysctls and status out. This kernel may lack VRFs; where one is needed, the facts are made up.

mod admission;
mod commands;
mod engine;
mod install;
mod installer;
mod metrics;
mod routes;
mod run;
mod sandbox;
mod shortage;
